# SPDX-License-Identifier: MIT
"""GPTQModel itself loads the GPTQ checkpoint that merge-adapter writes of a tiny Llama model, on the CPU, and has the
same weights: those that qwha reads from it, rounded once to half.

interop_gptqmodel.py MERGE-ADAPTER. Exits with 4 (skipped) where gptqmodel and what it needs are not installed."""

import pathlib
import subprocess
import sys
import tempfile

try:
    import torch
    from gptqmodel import BACKEND, GPTQModel
    from safetensors.numpy import load_file, save_file
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
except ImportError as missing:
    print("skipped:", missing)
    sys.exit(4)

with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    torch.manual_seed(0)
    config = LlamaConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
                         vocab_size=128, tie_word_embeddings=False)
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder / "base")
    words = Tokenizer(models.WordLevel({str(i): i for i in range(128)}, unk_token="0"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="0").save_pretrained(folder / "base")
    layers = [(n, *m.weight.shape) for n, m in model.named_modules()
              if isinstance(m, torch.nn.Linear) and n != "lm_head"]

    # An adapter of one coefficient a row.
    tensors, modules = {}, []
    for layer, out, inputs in layers:
        tensors[f"{layer}.qwha_row_ptr"] = torch.arange(out + 1).numpy()
        tensors[f"{layer}.qwha_col"] = (torch.arange(out, dtype=torch.int32) * 7 % inputs).numpy()
        tensors[f"{layer}.qwha_val"] = (torch.randn(out) * 0.02).numpy()
        modules.append(f'{{"name":"{layer}","out":{out},"in":{inputs},"order":"S{inputs}"}}')
    about = {"format": "qwha", "qwha.version": "1", "qwha.scaling": "orthonormal"}
    save_file(tensors, folder / "adapter.safetensors", about | {"qwha.modules": f"[{','.join(modules)}]"})
    save_file({}, folder / "nothing.safetensors", about | {"qwha.modules": "[]"})

    for bits in (2, 3, 4, 8):
        gptq, dense = folder / f"gptq{bits}", folder / f"dense{bits}"
        subprocess.run([sys.argv[1], folder / "base", folder / "adapter.safetensors", gptq, "--bits", str(bits),
                        "--group", "32"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([sys.argv[1], gptq, folder / "nothing.safetensors", dense, "--type", "f32"], check=True,
                       stdout=subprocess.DEVNULL)
        loaded = GPTQModel.load(str(gptq), device="cpu", backend=BACKEND.TORCH, dtype=torch.float16)
        ours = load_file(dense / "model.safetensors")
        theirs = {n: m.dequantize_weight().T for n, m in loaded.model.named_modules() if hasattr(m, "qweight")}
        assert set(theirs) == {layer for layer, _, _ in layers}, set(theirs)
        for layer, weight in theirs.items():
            assert torch.equal(weight, torch.from_numpy(ours[layer + ".weight"]).half()), (bits, layer)
        print(f"{bits} bits: {len(theirs)} layers agree")
