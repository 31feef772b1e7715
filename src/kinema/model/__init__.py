import logging

# transformers and diffusers import torchao wherever it is installed, and warn of what other builds could do
for _name in ("torchao", "torch.utils._pytree", "diffusers.quantizers.torchao"):
    logging.getLogger(_name).setLevel(logging.ERROR)
