"""Push a folder to the Hugging Face Hub with its own client, which reads HF_ENDPOINT and HF_TOKEN."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from train.runtime.errors import HubError
from train.runtime.hub_client import patiently

# The file that the Hub puts into a new repo.
_INITIAL = {".gitattributes"}


@dataclass(frozen=True)
class HubRepo:
    """A model repo to push to. The token is that of HF_TOKEN, or the one stored by `hf auth login`.

    Args:
        repo_id: NAME or OWNER/NAME.
        private: whether a new repo is private; None for the owner's default.
        revision: the branch, which is created if there is none.
        overwrite: push to a repo that holds files already.
    """

    repo_id: str
    private: bool | None = None
    revision: str = "main"
    overwrite: bool = False

    def check(self) -> None:
        """Check that a push would succeed, before anything costly is done. Nothing is created.

        Raises:
            HubError: there is no token or it is refused, the repo holds files already, or there is no connection.
        """
        try:
            validate_repo_id(self.repo_id)
        except HFValidationError:
            raise HubError(
                f"hub_model_id: {self.repo_id!r} should be NAME or OWNER/NAME, as the Hub has them"
            ) from None
        with self._errors_in_one_line():
            self._refuse_to_overwrite(self._whole_id())

    def push(self, folder: Path, message: str) -> str:
        """Upload the content of `folder` in one commit. Files that the repo holds already are not sent again.

        Returns:
            The address of the commit.

        Raises:
            HubError: see `check`.
        """
        with self._errors_in_one_line():
            repo = self._whole_id()
            self._refuse_to_overwrite(repo)
            api, revision = self._api, self.revision
            patiently(lambda: api.create_repo(repo, private=self.private, exist_ok=True))
            if revision != constants.DEFAULT_REVISION:
                patiently(lambda: api.create_branch(repo, branch=revision, exist_ok=True))
            upload = partial(api.upload_folder, repo_id=repo, folder_path=folder, revision=revision)
            return str(patiently(lambda: upload(commit_message=message)).commit_url)

    @property
    def _api(self) -> HfApi:
        return HfApi()

    def _whole_id(self) -> str:
        user = patiently(self._api.whoami)["name"]
        return self.repo_id if "/" in self.repo_id else f"{user}/{self.repo_id}"

    def _refuse_to_overwrite(self, repo: str) -> None:
        try:
            files = set(patiently(lambda: self._api.list_repo_files(repo, revision=self.revision))) - _INITIAL
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return
        if files and not self.overwrite:
            raise HubError(
                f"hub: {repo} ({self.revision}) holds {len(files)} files already; name another repo or branch, or say "
                "that it may be overwritten (--overwrite, hub_overwrite: true)"
            )

    @contextmanager
    def _errors_in_one_line(self) -> Iterator[None]:
        """Turn every error of the client into a HubError of one line, without the token."""
        try:
            yield
        except LocalTokenNotFoundError:
            raise HubError("hub: there is no token; set HF_TOKEN, or run `hf auth login`") from None
        except HFValidationError as error:
            raise HubError(f"hub: {self._clean(error)}") from None
        except RepositoryNotFoundError:
            raise HubError(
                f"hub: {constants.ENDPOINT} has no repo {self.repo_id}, or does not show it to this token"
            ) from None
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status in (401, 403):
                raise HubError(
                    f"hub: {constants.ENDPOINT} refuses the token ({status}); it should be one that may write to "
                    f"{self.repo_id}"
                ) from None
            raise HubError(f"hub: {constants.ENDPOINT} answered {status}: {self._clean(error)}") from None
        except (HTTPError, OSError) as error:
            raise HubError(f"hub: no connection to {constants.ENDPOINT}: {self._clean(error)}") from None
        except ValueError as error:  # the client's error for a card that the Hub does not accept
            raise HubError(f"hub: {self._clean(error)}") from None

    def _clean(self, error: Exception) -> str:
        token = get_token()
        line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        return line.replace(token, "***") if token else line
