"""Whom an OpenID provider vouches for: its identity token, checked here and not by who brings it.

Takes a token, gives nothing but a refusal, and tells the provider nothing: only its description and
its public keys are read, and kept. While it is down nobody new gets in by it; passwords, tokens and
sessions that began go on.
"""

import asyncio
import importlib.util
import time
from collections.abc import Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from loguru import logger
from starlette.concurrency import run_in_threadpool

from continualml.app.api.problems import ProblemError
from continualml.errors import InputError, Said
from continualml.settings import Settings, is_private

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

_MOST_WAITING: Final = 8
_PATIENCE_S: Final = 5.0
_KEPT_S: Final = 3_600.0
# A key that is not known yet may be new; whoever invents names of keys makes nobody busy.
_PAUSE_S: Final = 10.0
_CLOCKS_DIFFER_S: Final = 60
# Signatures with the provider's private key alone: none made with a secret that others share.
_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384")
_PUBLIC: Final = ("RSA", "EC")


class VouchedBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The identity token that the provider gave to the dashboard for somebody."""

    id_token: Annotated[str, msgspec.Meta(min_length=1, max_length=16_000)]


class Provider:
    """One OpenID provider, what it calls the dashboard, and who of its people may log in.

    Parameters
    ----------
    url
        Its issuer, without the slash at the end; its description lies below it.
    client_id
        For whom a token must be made out.
    allowed
        E-mail addresses and @domains in small letters; not empty.
    """

    def __init__(self, url: str, client_id: str, allowed: Collection[str]) -> None:
        self._url, self._client_id, self._allowed = url.rstrip("/"), client_id, frozenset(allowed)
        self._issuer = url
        self._keys: KeySet | None = None
        self._read_at = self._tried_at = -_KEPT_S
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0

    @classmethod
    def of(cls, said: Settings) -> "Provider | None":
        """Make the one that is set, if one is.

        Raises
        ------
        InputError
            If the extra is not installed.
        """
        if said.oidc_url is None or said.oidc_client_id is None:
            return None
        if importlib.util.find_spec("joserfc") is None:
            raise InputError(
                "CONTINUAL_OIDC_URL",
                expected="the extra oidc",
                got=Said("none here"),
                remedy='pip install "continualml[oidc]"',
            )
        return cls(said.oidc_url, said.oidc_client_id, said.oidc_allowed)

    async def check(self, id_token: str) -> None:
        """Let somebody pass whom the provider knows and the allow list names.

        Raises
        ------
        ProblemError
            401 if the token is not the provider's, not for us or over, 403 if its e-mail address
            is not verified or not allowed, 429 if too many wait, 503 if the provider is down.
        """
        if self._waiting >= _MOST_WAITING:
            raise ProblemError(
                429, "too-many-tries", "too many log in at once", headers={"Retry-After": "2"}
            )
        self._waiting += 1
        try:
            async with self._turn:
                await run_in_threadpool(self._check, id_token)
        finally:
            self._waiting -= 1

    def _check(self, id_token: str) -> None:
        claims = self._claims(id_token)
        email = claims.get("email")
        if not isinstance(email, str) or claims.get("email_verified") is not True:
            raise _refused("the provider does not say that your e-mail address is verified")
        email = email.lower()
        # A name may hold an @ in quotes; what is behind the last one is the domain.
        if not {email, f"@{email.rpartition('@')[2]}"} & self._allowed:
            raise _refused("your e-mail address is not among those that may log in")

    def _claims(self, id_token: str) -> dict[str, Any]:
        """Read what the token says, once its signature and for whom and when it holds is right."""
        from joserfc import jwt  # noqa: PLC0415  brings cryptography, which few servers need
        from joserfc.errors import InvalidKeyIdError, JoseError  # noqa: PLC0415  likewise

        keys = self._known(anew=False)
        try:
            try:
                token = jwt.decode(id_token, keys, algorithms=_ALGORITHMS)
            except InvalidKeyIdError:
                token = jwt.decode(id_token, self._known(anew=True), algorithms=_ALGORITHMS)
            registry = jwt.JWTClaimsRegistry(
                now=int(datetime.now(UTC).timestamp()),
                leeway=_CLOCKS_DIFFER_S,
                iss={"essential": True, "value": self._issuer},
                aud={"essential": True, "value": self._client_id},
                exp={"essential": True},
                iat={"essential": True},
            )
            registry.validate(token.claims)
        except (JoseError, ValueError) as error:
            raise _wrong(type(error).__name__) from None
        audience, party = token.claims["aud"], token.claims.get("azp")
        several = isinstance(audience, list) and len(audience) > 1
        if party != self._client_id and (several or party is not None):
            raise _wrong("made out for another party")
        return token.claims

    def _known(self, *, anew: bool) -> "KeySet":
        """Return the provider's keys; read them where they are old, or one is not among them."""
        now = time.monotonic()
        fresh = now - self._read_at < _KEPT_S
        paused = now - self._tried_at < _PAUSE_S
        if self._keys is not None and fresh and (not anew or paused):
            return self._keys
        if paused:
            raise _down()
        import httpx  # noqa: PLC0415  brings five megabytes, which few servers need

        self._tried_at = now
        try:
            self._keys = self._read()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
            logger.warning("The OpenID provider cannot be read: {}", type(error).__name__)
            raise _down() from None
        self._read_at = now
        return self._keys

    def _read(self) -> "KeySet":
        import httpx  # noqa: PLC0415  see above
        from joserfc.errors import JoseError  # noqa: PLC0415  likewise
        from joserfc.jwk import KeySet  # noqa: PLC0415  likewise

        with httpx.Client(timeout=_PATIENCE_S) as client:
            told = client.get(f"{self._url}/.well-known/openid-configuration")
            description = told.raise_for_status().json()
            issuer, address = description["issuer"], description["jwks_uri"]
            if issuer.rstrip("/") != self._url or not is_private(address):
                raise ValueError("another issuer, or keys that others could change")
            keys = client.get(address).raise_for_status().json()["keys"]
        ours = [k for k in keys if k.get("kty") in _PUBLIC and k.get("use", "sig") == "sig"]
        try:
            known = KeySet.import_key_set({"keys": ours})
        except JoseError as error:
            raise ValueError("no key that can be read") from error
        self._issuer = issuer
        return known


def _wrong(why: str) -> ProblemError:
    return ProblemError(
        401,
        "wrong-token",
        f"this is no identity token that holds here ({why})",
        remedy="log in at the provider again",
    )


def _refused(why: str) -> ProblemError:
    logger.bind(event="login-refused").warning("A login by the provider was refused: {}", why)
    return ProblemError(
        403,
        "not-allowed",
        why,
        remedy="ask who runs this to add it to CONTINUAL_OIDC_ALLOW, or to log in with a token",
    )


def _down() -> ProblemError:
    return ProblemError(
        503,
        "provider-down",
        "the OpenID provider cannot be asked now",
        headers={"Retry-After": str(int(_PAUSE_S))},
        remedy="try again later; the password and tokens work meanwhile",
    )
