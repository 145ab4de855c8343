"""Changing the model: the contrastive trainer, and the numbers before and after it."""

import logging

# PEFT imports bitsandbytes where it is installed, which warns in every command that a faster product of 4-bit weights
# is missing. It has another one, and packed layers here do not use the missing one (`train.model.quantization`).
_PRODUCT = "gemm_4bit_forward"
logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(lambda record: _PRODUCT not in record.getMessage())
