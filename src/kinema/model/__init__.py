import logging

# transformers imports torchao wherever that is installed, which warns of what other builds of torch could do
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)
