// node send.mjs URL FILE FIELDS PARALLEL STOP_AT STATE: send a file with tus-js-client; abort after STOP_AT bytes.
import fs from "node:fs"
import { createRequire } from "node:module"
const [url, path, fields, parallel, stopAt, state] = process.argv.slice(2)
const tus = createRequire(`${process.env.TUS_MODULES}/`)("tus-js-client")
const upload = new tus.Upload(fs.createReadStream(path), {
  endpoint: url,
  chunkSize: 1_000_000,
  metadata: JSON.parse(fields),
  metadataForPartialUploads: JSON.parse(fields),
  parallelUploads: Number(parallel),
  urlStorage: new tus.FileUrlStorage(state),
  retryDelays: [0, 200, 500, 1000],
  onError: (error) => { console.error(String(error)); process.exit(1) },
  onProgress: (sent) => { if (Number(stopAt) && sent >= Number(stopAt)) process.exit(3) },
  onSuccess: () => { console.log(upload.url) },
})
const earlier = await upload.findPreviousUploads()
if (earlier.length) upload.resumeFromPreviousUpload(earlier[0])
upload.start()
