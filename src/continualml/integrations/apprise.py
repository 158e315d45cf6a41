"""Other channels, by Apprise: takes a notice for Slack, a webhook of one's own and many more.

Apprise says whether it was taken, not why not or until when: what it did not take is tried again.
It cannot edit.
"""

import logging

import apprise
from pydantic import SecretStr

from continualml.integrations.delivery import Closed, Delivered, Delivery, Gone, Retry
from continualml.notices.notice import Links, Notice, Tone

_TYPES: dict[Tone, apprise.NotifyType] = {
    "good": apprise.NotifyType.SUCCESS,
    "bad": apprise.NotifyType.FAILURE,
    "warning": apprise.NotifyType.WARNING,
    "plain": apprise.NotifyType.INFO,
}
_REMEDY = "see https://github.com/caronc/apprise for how CONTINUAL_NOTIFY_URL is written"


class Other:
    """One channel that Apprise knows."""

    edits = False

    def __init__(self, address: SecretStr, *, links: Links) -> None:
        # It writes addresses into its log, keeps files in the home folder, and shows pictures
        # that are loaded from elsewhere, unless told not to.
        logging.getLogger("apprise").disabled = True
        asset = apprise.AppriseAsset(
            app_id="Continual ML",
            app_desc="Continual ML",
            app_url="",
            image_url_mask="",
            image_url_logo="",
            storage_mode=apprise.PersistentStoreMode.MEMORY,
        )
        self._links = links
        self._there = apprise.Apprise(asset=asset)
        self._known = self._there.add(address.get_secret_value())

    def post(self, notice: Notice) -> Delivery:
        """Send a notice."""
        if not self._known:
            return Closed(because="the address is none that Apprise knows", remedy=_REMEDY)
        taken = self._there.notify(
            title=notice.title, body=_text(notice, self._links), notify_type=_TYPES[notice.tone]
        )
        return Delivered() if taken else Retry(because="the channel did not take it")

    def edit(self, message: str, notice: Notice) -> Delivery:  # noqa: ARG002  as every channel
        """Say that nothing can be edited."""
        return Gone(because="it cannot be edited")


def _text(notice: Notice, links: Links) -> str:
    lines = [notice.what, "", *(f"{name}: {value}" for name, value in notice.facts)]
    lines += [f"- {why}" for why in notice.why]
    lines += [links.dashboard] if links.dashboard else []
    return "\n".join([*lines, f"{links.runbook or 'docs/runbook.md'}#{notice.section}"])
