"""S3 and what speaks its protocol: takes and gives the bytes of objects of one bucket.

While it is down, slow or refuses, ``UnreachableError`` says so within ``LONGEST_S``: what is in the
cache of a machine answers on, and what was fitted meanwhile is refused and fitted again later.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from continualml.errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_S = 20.0
# By botocore's names; one object that is written or read has at most LONGEST_S for all of it.
_PATIENCE = {
    "connect_timeout": 3,
    "read_timeout": 8,
    "retries": {"mode": "standard", "total_max_attempts": 2},
}
_LONGEST_TEXT = 200


@dataclass(frozen=True, slots=True)
class Bucket:
    """A place ``s3://bucket/prefix``; whose it is and who asks is said by the environment.

    botocore reads its own variables: ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``,
    ``AWS_REGION``, ``AWS_ENDPOINT_URL`` and so on; none of them is kept here.
    """

    url: str

    def get(self, name: str) -> bytes | None:
        """Read an object; None if there is none of that name.

        Raises
        ------
        UnreachableError
            If nothing is known about it, because the bucket did not answer or does not exist.
        """
        try:
            data: bytes = self._asked("_cat_file", name)
        except FileNotFoundError as error:
            if _code(error) == "NoSuchBucket":
                raise self._unreachable(error) from None
            return None
        return data

    def put(self, name: str, data: bytes) -> None:
        """Write an object, whole or not at all, unless one of that name and size is there.

        Raises
        ------
        UnreachableError
            If it is not known to be there now.
        """
        try:
            if self._asked("_info", name)["size"] == len(data):
                return
        except FileNotFoundError:
            pass  # the usual case: it is new
        try:
            self._asked("_pipe_file", name, data)
        except FileNotFoundError as error:  # the bucket
            raise self._unreachable(error) from None

    def look(self) -> None:
        """See whether the bucket answers.

        Raises
        ------
        UnreachableError
            If it does not.
        """
        self.get("no-object-has-this-name")

    def _asked(self, how: str, name: str, *more: bytes) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  an extra
        from fsspec.asyn import sync  # noqa: PLC0415  likewise
        from s3fs import S3FileSystem  # noqa: PLC0415  likewise, 90 MB in all

        try:
            # Asked again for the same, it gives the client that this thread has.
            files = S3FileSystem(config_kwargs=_PATIENCE, use_listings_cache=False)
            files.retries = 1  # botocore tries again already
            act: Callable[..., Any] = getattr(files, how)
            path = f"{self.url.removeprefix('s3://')}/{name}"
            return sync(files.loop, act, path, *more, timeout=LONGEST_S)
        except FileNotFoundError:
            raise
        except (OSError, BotoCoreError, ClientError) as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: BaseException) -> UnreachableError:
        # What botocore itself says names the address, in which a password may stand.
        text = (
            str(error.args[-1])[:_LONGEST_TEXT] if isinstance(error, OSError) and error.args else ""
        )
        return UnreachableError(f"{self.url}: {type(error).__name__}{text and ': '}{text}")


def _code(error: BaseException) -> str:
    answer = getattr(error.__cause__, "response", {})
    return str(answer.get("Error", {}).get("Code", ""))
