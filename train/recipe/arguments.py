"""Every key of our own that a recipe may hold, and what it may be."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from data.judge import judge
from data.sets import ALL, SETS
from data.sources import DataSource, EvaluationSplit
from eavss.choices import WORDINGS
from eavss.selectors import SELECTORS, Estimator, Form, Selector
from train.recipe.model_arguments import ModelArguments
from train.recipe.ranges import check_ranges
from train.recipe.settings import EvaluationSettings, Labels, SelectionSettings
from train.runtime.errors import require

if TYPE_CHECKING:
    from train.losses import LossWeights

RETENTION = ("wikitext", "lambada", "sst2", "sst2_review")
# What the command line says for an empty list, which it cannot express.
NO_RETENTION = ["none"]
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class EavssArguments(ModelArguments):
    """The keys of our own, after those of the model; the rest of a recipe are `transformers.TrainingArguments`.

    Where a key is one that TRL or PEFT has, it has their name and their meaning.
    """

    # The data
    dataset: str = field(
        default="truthfulqa",
        metadata={"help": f"One of {', '.join(SETS)}, {ALL}, or own data: a Hub id, or a file, as docs/data.md says."},
    )
    dataset_rows: int | None = field(
        default=None, metadata={"help": "Keep at most so many rows of own data, drawn as they are read; unset: all."}
    )
    datasets_root: str | None = field(
        default=None, metadata={"help": "Unset: the Hub; `samples`: what ships; else a folder in Hub layout."}
    )
    evaluation_share: float = field(default=0.1, metadata={"help": "Share of own data kept for evaluation."})
    evaluation_split: EvaluationSplit | None = field(
        default=None, metadata={"help": "test or validation; unset: test where a set's has labels, else validation."}
    )
    validation_share: float = field(
        default=0.0,
        metadata={"help": "Above 0: evaluate on this share of the training questions instead, to choose settings."},
    )
    prompt_style: Literal["auto", "plain", "chat"] = field(
        default="auto",
        metadata={"help": "plain: 'Question: ...\\nAnswer:'; chat: the chat template; auto: chat if there is one."},
    )
    system_prompt: str | None = field(
        default=None, metadata={"help": "The system message of questions that bring none; none by default."}
    )
    passages: bool = field(
        default=False, metadata={"help": "Show the passage that comes with a question before it: SciQ, own answers."}
    )
    max_length: int = field(default=512, metadata={"help": "Tokens of prompt and answer; the prompt's start is cut."})
    mined_answers: int = field(
        default=3, metadata={"help": "Model-written answers tried per question of a set without wrong ones; 0: none."}
    )
    knowledge_samples: int = field(
        default=0, metadata={"help": "Sampled answers per training question that show what the base knows; 0: none."}
    )
    # Scoring
    score_questions: int = field(default=256, metadata={"help": "Training questions that the profile is made from."})
    score_answers: int = field(default=4, metadata={"help": "Answers of each kind that a question adds at most."})
    # Selection
    selector: Selector = field(default="eavss", metadata={"help": f"One of {', '.join(SELECTORS)}."})
    form: Form = field(default="contrast", metadata={"help": "Which EAVSS: contrast or conditional."})
    estimator: Estimator = field(default="paper", metadata={"help": "Which AVSS: paper or scale_free."})
    select_fraction: float = field(default=0.25, metadata={"help": "Share of the blocks to train, rounded down."})
    layers: list[int] | None = field(default=None, metadata={"help": "Train these blocks, whatever the scores."})
    # Loss
    train_questions: int | None = field(default=None, metadata={"help": "Train on so many questions; unset: all."})
    pairs_per_question: int = field(default=4, metadata={"help": "Contrast pairs drawn from each question at most."})
    ce_weight: float = field(default=1.0, metadata={"help": "Weight of the cross-entropy of the truthful answer."})
    dpo_weight: float = field(default=1.0, metadata={"help": "Weight of the DPO term at the output (lambda)."})
    infonce_weight: float = field(default=0.0, metadata={"help": "Weight of InfoNCE at the selected blocks (mu)."})
    decline_weight: float = field(
        default=0.0, metadata={"help": "Weight of the log loss of the model's own answers against declining."}
    )
    decline_ce_weight: float = field(
        default=0.0, metadata={"help": "Weight of the cross-entropy of what should be said there: answer or declining."}
    )
    decline_share: float = field(
        default=0.5, metadata={"help": "Share of these pairs that decline; more, and the model declines more readily."}
    )
    decline_labels: Labels = field(
        default="judged",
        metadata={
            "help": "What tells answers to give from those to decline: the judge, a probe of the base, or whether the "
            "passage is the question's own."
        },
    )
    decline_wordings: list[str] = field(
        default_factory=lambda: list(WORDINGS), metadata={"help": "Ways to decline, which training draws from."}
    )
    beta: float = field(default=0.1, metadata={"help": "DPO's beta."})
    replay_weight: float = field(
        default=0.0, metadata={"help": "Weight of the divergence from the base on texts that it writes of itself."}
    )
    infonce_temperature: float = field(default=0.1, metadata={"help": "InfoNCE's tau."})
    # Speed
    pack_answers: bool = field(
        default=True, metadata={"help": "Read a prompt once for all its answers, where the attention allows it."}
    )
    prefix_cache_gb: float = field(
        default=16.0, metadata={"help": "Disk for what enters the lowest selected block, in 1e9 bytes; 0: no cache."}
    )
    train_token_budget: int = field(
        default=4096, metadata={"help": "Tokens in a forward and backward pass; a batch over it is divided."}
    )
    # Evaluation
    evaluate_on: list[str] = field(
        default_factory=lambda: list(SETS), metadata={"help": "Sets evaluated before and after training."}
    )
    eval_seed: int | None = field(
        default=None, metadata={"help": "Draws the evaluation questions; unset: the seed, so each has its own."}
    )
    eval_limit: int | None = field(default=None, metadata={"help": "Evaluate at most so many questions of each set."})
    prompts: Literal["own", "harness"] = field(
        default="own", metadata={"help": "own: prompt_style and num_fewshot; harness: lm-evaluation-harness's prompts."}
    )
    num_fewshot: int = field(default=0, metadata={"help": "Training questions shown before each, with prompts own."})
    question_hidden: bool = field(default=True, metadata={"help": "Also score the answers under another prompt."})
    free_answers: bool = field(
        default=True,
        metadata={"help": "Let the model answer in its own words: NQ, TriviaQA, SciQ, own data with answers."},
    )
    ask_to_decline: bool = field(
        default=False, metadata={"help": "In free answers, tell the model to say that it does not know if it does not."}
    )
    calibration_questions: int = field(
        default=200, metadata={"help": "Questions of each set, not trained on, that calibrate its confidence; 0: none."}
    )
    retention: list[str] = field(
        default_factory=lambda: list(RETENTION[:3]),
        metadata={"help": f"What training may cost, measured before and after: {', '.join(RETENTION)}; or none."},
    )
    retention_limit: int | None = field(
        default=100, metadata={"help": "At most so many windows of text, and ten times as many passages and phrases."}
    )
    eval_token_budget: int = field(default=2048, metadata={"help": "Padded tokens in a batch without gradients."})
    fresh: bool = field(default=False, metadata={"help": "Measure anew what earlier runs have measured and kept."})
    # The Hub, beside push_to_hub, hub_model_id, hub_private_repo and hub_revision
    hub_merged: bool = field(default=False, metadata={"help": "Push base and adapter merged, not the adapter alone."})
    hub_overwrite: bool = field(default=False, metadata={"help": "Push to a repo that holds files already."})
    hub_base_model: str | None = field(
        default=None, metadata={"help": "The base's Hub id, where model_name_or_path is a folder."}
    )
    hub_license: str | None = field(default=None, metadata={"help": "Of what is pushed, as the Hub names it."})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self)
        if self.dataset in (*SETS, ALL):
            require(self.dataset_rows is None, "dataset_rows", self.dataset_rows, f"unset for {self.dataset}")
        by_passage = self.decline_labels == "passage"
        require(self.passages or not by_passage, "decline_labels", "passage", "judged or probe, or passages: true")
        for wording in self.decline_wordings or [""]:
            require(judge(wording, ()) == "declined", "decline_wordings", repr(wording), "one that declines a question")
        retention = [] if self.retention == NO_RETENTION else self.retention
        for key, names, known in (("evaluate_on", self.evaluate_on, tuple(SETS)), ("retention", retention, RETENTION)):
            unknown = [name for name in names if name not in known]
            require(not unknown, key, unknown, f"among {', '.join(known)}")

    @property
    def questions_to_draw(self) -> int | None:
        """How many training questions scoring and training need; None for all."""
        return None if self.train_questions is None else max(self.train_questions, self.score_questions)

    @property
    def cache_bytes(self) -> float:
        """How much disk the block-input caches may take."""
        return self.prefix_cache_gb * 1e9

    @property
    def source(self) -> DataSource:
        shares = self.evaluation_share, self.validation_share
        return DataSource(self.datasets_root, *shares, self.evaluation_split, self.dataset_rows)

    @property
    def selection(self) -> SelectionSettings:
        return SelectionSettings(self.selector, self.select_fraction, self.form, self.estimator, self.layers)

    @property
    def prefers(self) -> bool:
        """Whether truthful answers are trained on beside hallucinated ones."""
        return bool(self.ce_weight or self.dpo_weight or self.infonce_weight)

    @property
    def declines(self) -> bool:
        """Whether answers are trained on beside declining."""
        return bool(self.decline_weight or self.decline_ce_weight)

    @property
    def loss_weights(self) -> "LossWeights":
        from train.losses import TERMS, LossWeights  # imported here, so that keys are checked before torch is imported

        weights = {term.name: getattr(self, f"{term.name}_weight") for term in TERMS}
        return LossWeights(**weights, beta=self.beta, infonce_temperature=self.infonce_temperature)

    @property
    def evaluation(self) -> EvaluationSettings:
        own = () if self.dataset in (*SETS, ALL) else (self.dataset,)
        return EvaluationSettings(
            sets=tuple(dict.fromkeys((*self.evaluate_on, *own))),
            source=self.source,
            seed=self.eval_seed,
            limit=self.eval_limit,
            prompt_style="harness" if self.prompts == "harness" else self.prompt_style,
            system_prompt=self.system_prompt,
            max_length=self.max_length,
            num_fewshot=self.num_fewshot,
            passages=self.passages,
            question_hidden=self.question_hidden,
            free_answers=self.free_answers,
            ask_to_decline=self.ask_to_decline,
            calibration_questions=self.calibration_questions,
            retention=tuple(self.retention),
            retention_limit=self.retention_limit,
            token_budget=self.eval_token_budget,
            cache_bytes=self.cache_bytes,
            fresh=self.fresh,
        )
