"""IDX, the one format that is ours: header, geometry, codecs, writer and an independent reader."""
