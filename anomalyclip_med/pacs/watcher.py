"""Asks a DICOMweb server for new series, and stores results to it (QIDO-RS, WADO-RS, STOW-RS)."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import requests
from dicomweb_client import DICOMwebClient
from pydicom import dcmread
from pydicom.dataset import Dataset

from anomalyclip_med.data.naming import hash_uid
from anomalyclip_med.errors import AnomalyClipMedError, ConfigurationError
from anomalyclip_med.pacs import credentials
from anomalyclip_med.pacs.identity import Identity
from anomalyclip_med.pacs.service import MAX_ATTEMPTS, DeliveryError, UnreachableError
from anomalyclip_med.pacs.spool import RefusedError, Spool
from anomalyclip_med.pacs.state import WatchState

logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 60
_AS_STORED = (("application/dicom", "*"),)
_LOOK_BACK = timedelta(days=7)
_NOT_FOUND = 404
_REFUSED = {400, 409, 413, 415}  # what is wrong with these is the object


def connect(url: str) -> DICOMwebClient:
    """A client for a DICOMweb server.

    Raises:
        ConfigurationError: the URL is not one of a server, or holds credentials.
    """
    parts = urlsplit(url)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigurationError(
            f"the URL must not hold credentials or a query: set {credentials.USER} and {credentials.PASSWORD}, "
            f"or {credentials.TOKEN}"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"{url!r} is not the URL of a server, such as http://127.0.0.1:8042/dicom-web")
    client = DICOMwebClient(url.rstrip("/"), session=credentials.session(), timeout=_TIMEOUT_SECONDS)
    client.set_http_retry_params(retry=False)  # the service tries again by itself, and stops when it is told to
    return client


class _WrongAnswerError(AnomalyClipMedError):
    """The server sent something else than was asked for."""


class Watcher:
    """Brings new series of a DICOMweb server into a spool.

    A series is taken when it has as many instances as at the last poll, so that it is not taken while it arrives; if it
    grows later, it is taken again. Without a day to start from, what is there at the very first poll is left alone.
    Only the first poll of a day asks for all studies from that day on, so that polls do not grow with the years; the
    others ask for those of the last week, and for those of which something was still to be taken.

    Args:
        client: speaks to the server.
        spool: takes the series.
        state: what is done already.
        modalities: DICOM modalities of the series to take.
        since: first StudyDate, YYYYMMDD, of the studies to take; None: the day of the first start.
        settle: wait until a series has stopped growing.
    """

    def __init__(
        self,
        client: DICOMwebClient,
        spool: Spool,
        state: WatchState,
        modalities: Sequence[str],
        since: str | None = None,
        settle: bool = True,
    ) -> None:
        for modality in modalities:
            if not re.fullmatch(r"[A-Z0-9_]{1,16}", modality):
                raise ConfigurationError(f"{modality!r} is not a DICOM modality, such as CT")
        if since and not re.fullmatch(r"\d{8}", since):
            raise ConfigurationError(f"{since!r} is not a day as YYYYMMDD")
        self.client = client
        self.spool = spool
        self.state = state
        self.modalities = modalities
        self.since = since
        self.settle = settle
        self._sizes: dict[str, int] = {}
        self._all_asked: date | None = None
        self._waiting: list[str] = []

    def poll(self) -> bool:
        """Ask once, and take what is new; returns whether all of it could be taken.

        Raises:
            UnreachableError: the server does not answer as it should.
        """
        today = date.today()
        try:
            studies = {study: self._series(study) for study in self._studies(today)}
        except requests.RequestException as error:
            raise UnreachableError(_told(error)) from None
        everything = {uid: count for series in studies.values() for uid, count in series.items()}
        if self.state.fresh and not self.since:
            self.state.done(everything)
            logger.info("%d series are there already and left alone", len(everything))
        self.state.fresh = False
        self._all_asked = today
        self._waiting = []
        complete = True
        for study, series in studies.items():
            new = {uid: count for uid, count in series.items() if not self.state.is_done(uid, count)}
            if new and (not self.settle or all(self._sizes.get(uid) == count for uid, count in new.items())):
                complete &= self._take(study, new)
            if any(not self.state.is_done(uid, count) for uid, count in new.items()):
                self._waiting.append(study)
        self._sizes = everything
        return complete

    def deliver(self, objects: Sequence[Path]) -> None:
        """Store DICOM files; see `anomalyclip_med.pacs.service.Destination`."""
        for path in objects:
            dataset = dcmread(path)
            self.state.never(str(dataset.SeriesInstanceUID))
            try:
                response = self.client.store_instances([dataset])
            except requests.RequestException as error:
                refused = error.response is not None and error.response.status_code in _REFUSED
                raise (DeliveryError if refused else UnreachableError)(_told(error)) from None
            if response.get("FailedSOPSequence"):
                reason = int(response.FailedSOPSequence[0].get("FailureReason", 0))
                raise DeliveryError(f"the server refuses an object with status 0x{reason:04X}")

    def _studies(self, today: date) -> list[str]:
        """The studies with series of the chosen modalities, and those that wait."""
        since = self.since or self.state.since
        if today == self._all_asked:
            since = max(since, f"{today - _LOOK_BACK:%Y%m%d}")
        found = [uid for modality in self.modalities for uid in self._studies_with(modality, since)]
        return list(dict.fromkeys([*self._waiting, *found]))

    def _studies_with(self, modality: str, since: str) -> set[str]:
        filters = {"StudyDate": f"{since}-", "ModalitiesInStudy": modality}
        found: set[str] = set()
        offset = 0
        # Not dicomweb-client's get_remaining: it asks for ever where a server does not know the offset.
        while page := self.client.search_for_studies(search_filters=filters, offset=offset or None):
            new = {str(Dataset.from_json(result).StudyInstanceUID) for result in page} - found
            if not new:
                break
            found |= new
            offset += len(page)
        return found

    def _series(self, study: str) -> dict[str, int]:
        """The series of the chosen modalities and their numbers of instances, 0 where the server does not tell."""
        found = {}
        try:
            results = self.client.search_for_series(study, fields=["NumberOfSeriesRelatedInstances"])
        except requests.HTTPError as error:
            if error.response is None or error.response.status_code != _NOT_FOUND:
                raise
            results = []  # deleted since it was found
        for result in results:
            series = Dataset.from_json(result)
            if series.get("Modality") in self.modalities:
                found[str(series.SeriesInstanceUID)] = int(series.get("NumberOfSeriesRelatedInstances") or 0)
        return found

    def _take(self, study: str, series: dict[str, int]) -> bool:
        try:
            for uid, count in series.items():
                self._retrieve(study, uid, count)
        except Exception as error:  # pydicom raises anything for damaged instances
            self.spool.discard(study)
            told = isinstance(error, RefusedError | _WrongAnswerError)
            reason = str(error) if told else _told(error) if isinstance(error, OSError) else type(error).__name__
            # A server or a disk that is out of order for a while is not the study's fault.
            if isinstance(error, OSError) or self.state.failed(study) < MAX_ATTEMPTS:
                logger.warning("study %s was not taken, the next poll tries it again: %s", hash_uid(study), reason)
            else:
                logger.error("study %s is left out: %s", hash_uid(study), reason)
                self.state.done(series)
            return False
        self.spool.close(study)
        self.state.done({uid: count for uid, count in series.items() if not self.state.is_done(uid, count)})
        return True

    def _retrieve(self, study: str, series: str, expected: int) -> None:
        count = 0
        for dataset in self.client.iter_series(study, series, media_types=_AS_STORED):
            identity = Identity.of_dataset(dataset)
            if identity.own:
                self.state.never(series)
                return
            if (identity.study, identity.series) != (study, series):
                raise _WrongAnswerError("the server sent an instance of another series")
            count += 1
            if identity.image:
                self._add(dataset, identity)
        if count < expected:
            raise _WrongAnswerError("the server sent fewer instances than it announced")

    def _add(self, dataset: Dataset, identity: Identity) -> None:
        with tempfile.NamedTemporaryFile(dir=self.spool.incoming, suffix=".dcm", delete=False) as file:
            dataset.save_as(file, enforce_file_format=True)
        try:
            self.spool.add(Path(file.name), identity.study, identity.instance)
        finally:
            Path(file.name).unlink(missing_ok=True)


def _told(error: OSError) -> str:
    """What went wrong, without the text of the exception, which holds URLs with UIDs."""
    if not isinstance(error, requests.RequestException):
        return error.strerror or type(error).__name__
    if error.response is None:
        return f"the server cannot be reached ({type(error).__name__})"
    return f"the server answers with HTTP status {error.response.status_code}"
