"""The keys of a recipe that say which model is trained, how it is held in memory, and what its adapter is."""

from dataclasses import dataclass, field

from train.recipe.settings import BaseModel, Bits4, Dtype, LoraSettings, Quantization
from train.runtime.errors import require


@dataclass(frozen=True)
class ModelArguments:
    """The keys of the base model and of the adapter, by TRL's names where TRL has them."""

    # The model
    model_name_or_path: str = field(metadata={"help": "A Hub id, or a folder with a causal LM and its tokenizer."})
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of a Hub model."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code that the model's repo brings."})
    trust_checkpoint: bool = field(
        default=False, metadata={"help": "Resume under DeepSpeed from what you have not written: it may run code."}
    )
    attn_implementation: str | None = field(default=None, metadata={"help": "As in from_pretrained."})
    dtype: Dtype = field(
        default="auto", metadata={"help": "auto: bfloat16 where this machine computes it fast, else float32."}
    )
    load_in_4bit: bool = field(
        default=False, metadata={"help": "Hold the base's linear layers in 4 bits, as QLoRA does; needs bitsandbytes."}
    )
    load_in_8bit: bool = field(
        default=False, metadata={"help": "Hold the base's linear layers in 8 bits; needs bitsandbytes."}
    )
    bnb_4bit_quant_type: Bits4 = field(
        default="nf4", metadata={"help": "The 16 values of 4 bits: nf4, of a normal distribution, or fp4."}
    )
    use_bnb_nested_quant: bool = field(
        default=False, metadata={"help": "Hold the scales of 4 bits in 8 bits: 0.4 bits a weight less."}
    )
    # LoRA
    lora_r: int = field(default=8, metadata={"help": "LoRA rank."})
    lora_alpha: int = field(default=16, metadata={"help": "LoRA alpha."})
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout on LoRA's input."})
    lora_target_modules: list[str] | None = field(
        default=None, metadata={"help": "Linear layers inside a block, as q_proj v_proj; unset: all of them."}
    )
    lora_experts: bool = field(
        default=False,
        metadata={"help": "Adapt a mixture's fused experts too, each at rank lora_r; false: its linear layers alone."},
    )

    def __post_init__(self) -> None:
        bits = (self.load_in_4bit, self.load_in_8bit)
        require(not all(bits), "load_in_4bit, load_in_8bit", "both", "one of them at most")
        only_4bit = {
            "bnb_4bit_quant_type": self.bnb_4bit_quant_type != "nf4",
            "use_bnb_nested_quant": self.use_bnb_nested_quant,
        }
        for key, given in only_4bit.items():
            require(self.load_in_4bit or not given, key, "given", "left out, or load_in_4bit: true")
        dropped = self.lora_experts and self.lora_dropout
        require(not dropped, "lora_dropout", self.lora_dropout, "0 with lora_experts, whose product PEFT cannot divide")

    @property
    def quantization(self) -> Quantization | None:
        """How the base's linear layers are held; None for their own precision."""
        if self.load_in_4bit:
            return Quantization(4, self.bnb_4bit_quant_type, self.use_bnb_nested_quant)
        return Quantization(8) if self.load_in_8bit else None

    def require_own_precision(self) -> None:
        """Refuse packed weights, where whole models are written.

        Raises:
            RecipeError: the recipe asks for them.
        """
        given = "given" if self.quantization is None else self.quantization
        require(
            self.quantization is None,
            "load_in_4bit, load_in_8bit",
            given,
            "left out: this writes the base's own weights",
        )

    @property
    def base_model(self) -> BaseModel:
        return BaseModel(
            name=self.model_name_or_path,
            revision=self.model_revision,
            trust_remote_code=self.trust_remote_code,
            dtype=self.dtype,
            attn_implementation=self.attn_implementation,
            quantization=self.quantization,
        )

    @property
    def lora(self) -> LoraSettings:
        return LoraSettings(
            r=self.lora_r,
            alpha=self.lora_alpha,
            dropout=self.lora_dropout,
            target_modules=self.lora_target_modules,
            experts=self.lora_experts,
        )
