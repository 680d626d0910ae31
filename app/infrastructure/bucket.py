"""The S3 bucket of staging, as `app.infrastructure.staging` sees it; must not know what an exam is."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit

import obstore
from obstore.store import S3Store

from app.config.settings import Settings
from app.config.trust import house_authorities

PART_BYTES = 8 * 1024 * 1024


class S3Bucket:
    """A bucket, or what lies in it under a prefix."""

    def __init__(self, store: S3Store) -> None:
        self._store = store

    async def put(self, name: str, local: Path) -> None:
        """A local file as `name`."""
        await obstore.put_async(self._store, name, local, chunk_size=PART_BYTES)

    async def get(self, name: str) -> AsyncIterator[bytes] | None:
        """The bytes of `name`; None when there is no such."""
        try:
            answer = await obstore.get_async(self._store, name)
        except FileNotFoundError:
            return None
        return aiter(answer.stream(min_chunk_size=PART_BYTES))

    async def delete(self, prefix: str, unwanted: Callable[[str], bool]) -> None:
        """Delete whatever begins with `prefix` and is unwanted."""
        async for batch in obstore.list(self._store, prefix=prefix):
            names = [item["path"] for item in batch if unwanted(item["path"])]
            if names:
                await obstore.delete_async(self._store, names)


def open_bucket(settings: Settings) -> S3Bucket:
    """The bucket that SONOBRIDGE_STAGING_URL names; credentials and endpoint come from the usual AWS_ variables."""
    parts = urlsplit(settings.staging_url)
    house = house_authorities(settings.ca_file) if settings.ca_file else None
    return S3Bucket(
        S3Store(
            parts.netloc,
            prefix=parts.path.strip("/") or None,
            client_options={"root_certificate": house} if house else None,
        )
    )
