"""Send a folder to the Hugging Face Hub, by its client and its conventions: HF_ENDPOINT, HF_TOKEN, branches."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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

from train.runtime.errors import HubError

# What the Hub puts into a new repo by itself.
_INITIAL = {".gitattributes"}


@dataclass(frozen=True)
class HubRepo:
    """A model repo to push to.

    Args:
        repo_id: NAME or OWNER/NAME.
        private: of a repo that is created; None for the owner's default.
        revision: the branch, created where there is none.
        overwrite: push to a repo although it holds files already.

    The token is HF_TOKEN's, or the one kept by `hf auth login`.
    """

    repo_id: str
    private: bool | None = None
    revision: str = "main"
    overwrite: bool = False

    def check(self) -> None:
        """Whether a push would be let in, told before anything costly is done; nothing is created.

        Raises:
            HubError: no or a refused token, a repo that holds files already, or no connection.
        """
        with self._explained():
            self._refuse_to_overwrite(self._whole_id())

    def push(self, folder: Path, message: str) -> str:
        """Upload what `folder` holds in one commit; files that are there already are not sent again.

        Returns:
            The address of the commit.

        Raises:
            HubError: see `check`.
        """
        with self._explained():
            repo = self._whole_id()
            self._refuse_to_overwrite(repo)
            self._api.create_repo(repo, private=self.private, exist_ok=True)
            if self.revision != constants.DEFAULT_REVISION:
                self._api.create_branch(repo, branch=self.revision, exist_ok=True)
            commit = self._api.upload_folder(
                repo_id=repo, folder_path=folder, revision=self.revision, commit_message=message
            )
            return str(commit.commit_url)

    @property
    def _api(self) -> HfApi:
        return HfApi()

    def _whole_id(self) -> str:
        user = self._api.whoami()["name"]
        return self.repo_id if "/" in self.repo_id else f"{user}/{self.repo_id}"

    def _refuse_to_overwrite(self, repo: str) -> None:
        try:
            files = set(self._api.list_repo_files(repo, revision=self.revision)) - _INITIAL
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return
        if files and not self.overwrite:
            raise HubError(
                f"hub: {repo} ({self.revision}) holds {len(files)} files already; name another repo or branch, or say "
                "that it may be overwritten (--overwrite, hub_overwrite: true)"
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """A user's mistake, or the network's, in one line without the token."""
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
        except ValueError as error:  # what the client says of a card that the Hub does not accept
            raise HubError(f"hub: {self._clean(error)}") from None

    def _clean(self, error: Exception) -> str:
        token = get_token()
        line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        return line.replace(token, "***") if token else line
