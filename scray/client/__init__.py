"""The Python client: send files, follow them, cancel them, fetch results. It needs nothing but httpx.

client = ScrayClient("http://127.0.0.1:8000")
upload = client.upload(Path("scan.tif"), sensor="TIFF", name="scan", user_email="a@b.org")
print(client.wait(upload.dataset_uuid)["status"])
"""

from scray.client.aio import AsyncScrayClient
from scray.client.blocking import ScrayClient
from scray.client.fetching import Download
from scray.client.largefile import AsyncLargeFileUploadClient, LargeFileUploadClient
from scray.client.progress import Progress
from scray.client.scientistcloud import (
    AsyncScientistCloudUploadClient,
    JobStatus,
    ScientistCloudUploadClient,
    UploadResult,
)
from scray.client.sending import Manner, Upload

__all__ = [
    "AsyncLargeFileUploadClient",
    "AsyncScientistCloudUploadClient",
    "AsyncScrayClient",
    "Download",
    "JobStatus",
    "LargeFileUploadClient",
    "Manner",
    "Progress",
    "ScientistCloudUploadClient",
    "ScrayClient",
    "Upload",
    "UploadResult",
]
