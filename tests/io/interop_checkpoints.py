# SPDX-License-Identifier: MIT
"""Checkpoints of other makers against qwha, in numpy: what they write, dequantized as they dequantize, must be what qwha
reads, bit for bit; what qwha writes must dequantize to the same by their steps.

interop_checkpoints.py PROGRAM, the program being tests_io_interop_checkpoints. Exits with 4 (skipped) where a package is
missing. The steps of GPTQModel and AutoGPTQ are written down from their sources, those of bitsandbytes too; where torch
and bitsandbytes are installed, bitsandbytes itself quantizes and dequantizes as well."""

import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import gguf
    import ml_dtypes
    import numpy as np
    import safetensors.numpy as st
except ImportError as missing:
    print("skipped:", missing)
    sys.exit(4)
try:
    import bitsandbytes.functional as bnb
    import torch
except ImportError as missing:
    bnb = None
    print("bitsandbytes itself: not installed, its steps in numpy only:", missing)

random = np.random.default_rng(5)
expected = {}  # name in read.safetensors -> weights


# --- GPTQ -------------------------------------------------------------------------------------------------------------
# AutoGPTQ packs with these loops (qlinear_cuda_old.py, pack): 2, 4, 8 bits by shifts; 3 bits 32 codes into 3 words.
def pack_rows(codes, bits):
    codes = codes.astype(np.uint32)
    packed = np.zeros((codes.shape[0] * bits // 32, codes.shape[1]), np.uint32)
    if bits != 3:
        per_word = 32 // bits
        for i in range(codes.shape[0]):
            packed[i // per_word] |= codes[i] << np.uint32(bits * (i % per_word))
        return packed
    for block in range(codes.shape[0] // 32):
        c, w = codes[32 * block:32 * block + 32], packed[3 * block:3 * block + 3]
        for j in range(10):
            w[0] |= c[j] << np.uint32(3 * j)
            w[1] |= c[11 + j] << np.uint32(3 * j + 1)
            w[2] |= c[22 + j] << np.uint32(3 * j + 2)
        w[0] |= c[10] << np.uint32(30)
        w[1] |= (c[10] >> np.uint32(2)) & np.uint32(1)
        w[1] |= c[21] << np.uint32(31)
        w[2] |= (c[21] >> np.uint32(1)) & np.uint32(3)
    return packed


# GPTQModel unpacks with these (utils/model_dequant.py, unpack_rows, _unpack_rows_3bit).
def unpack_rows(packed, bits):
    packed = packed.astype(np.int64) & 0xFFFFFFFF
    if bits != 3:
        per_word = 32 // bits
        result = np.empty((packed.shape[0] * per_word, packed.shape[1]), np.int32)
        for i in range(per_word):
            result[i::per_word] = (packed >> (bits * i)) & ((1 << bits) - 1)
        return result
    words = packed.reshape(-1, 3, packed.shape[1])
    result = np.empty((words.shape[0], 32, packed.shape[1]), np.int32)
    for i in range(10):
        result[:, i] = (words[:, 0] >> (3 * i)) & 7
        result[:, 11 + i] = (words[:, 1] >> (1 + 3 * i)) & 7
        result[:, 22 + i] = (words[:, 2] >> (2 + 3 * i)) & 7
    result[:, 10] = ((words[:, 0] >> 30) & 3) | ((words[:, 1] << 2) & 4)
    result[:, 21] = ((words[:, 1] >> 31) & 1) | ((words[:, 2] << 1) & 6)
    return result.reshape(-1, packed.shape[1])


# GPTQModel, convert_gptq_file: zero points of version 1 plus one in each field, then (code - zero) * scale in float.
def gptq_dequantize(t, prefix, bits, version):
    zeros = unpack_rows(t[prefix + ".qzeros"].T, bits).T
    if version == 1:
        zeros = (zeros + 1) & ((1 << bits) - 1)
    group = t[prefix + ".g_idx"].astype(np.int64)
    codes = unpack_rows(t[prefix + ".qweight"], bits)
    scales = t[prefix + ".scales"].astype(np.float32)[group]
    return ((codes.astype(np.float32) - zeros.astype(np.float32)[group]) * scales).T


def gptq_tensors(out, inputs, bits, group, act_order, subtract):
    groups = -(-inputs // group)
    g_idx = np.arange(inputs) // group
    if act_order:
        random.shuffle(g_idx)
    zeros = random.integers(0, 1 << bits, (groups, out))
    return {
        "qweight": pack_rows(random.integers(0, 1 << bits, (inputs, out)), bits).view(np.int32),
        "qzeros": subtract(zeros).view(np.int32),
        "scales": (random.random((groups, out)) * 0.01).astype(np.float16),
        "g_idx": g_idx.astype(np.int32),
    }


def make_gptq(folder):
    constant = {2: 0x55555555, 4: 0x11111111, 8: 0x01010101}
    for bits in (2, 3, 4, 8):
        def packed(zeros):
            return np.ascontiguousarray(pack_rows(zeros.T, bits).T)

        kinds = {
            "v2": (2, packed),  # GPTQModel
            "v1": (1, lambda zeros: packed((zeros - 1) & ((1 << bits) - 1))),
            # GPTQModel's convert_gptq_v2_to_v1_format_module: one off the whole word, with borrows.
            "word": (1, lambda zeros: packed(zeros) - np.uint32(constant[bits])),
        }
        for kind, (version, subtract) in kinds.items():
            if kind == "word" and bits == 3:
                continue  # its 3-bit zero points go field by field
            name = f"gptq-{bits}-{kind}"
            (folder / name).mkdir()
            tensors = {}
            for module, (out, inputs, group, act_order) in {
                    "model.layers.0.q": (64, 128, 32, False),
                    "model.layers.0.k": (96, 160, 64, True),
                    "model.layers.0.v": (32, 96, 96, False)}.items():
                layer = gptq_tensors(out, inputs, bits, group, act_order, subtract)
                tensors |= {f"{module}.{key}": value for key, value in layer.items()}
                if kind == "word":  # what GPTQModel's loader does: plus one on the whole word, then as version 2
                    repaired = dict(tensors)
                    words = layer["qzeros"].view(np.uint32) + np.uint32(constant[bits])
                    repaired[f"{module}.qzeros"] = words.view(np.int32)
                    expected[f"{name}|{module}"] = gptq_dequantize(repaired, module, bits, 2)
                else:
                    expected[f"{name}|{module}"] = gptq_dequantize(tensors, module, bits, version)
            st.save_file(tensors, folder / name / "model.safetensors")
            config = {"bits": bits, "group_size": 32, "desc_act": True, "sym": False, "quant_method": "gptq"}
            if version == 2:
                config["checkpoint_format"] = "gptq_v2"
            if kind == "word":  # transformers keeps it in config.json
                (folder / name / "config.json").write_text(json.dumps({"quantization_config": config}))
            else:
                (folder / name / "quantize_config.json").write_text(json.dumps(config))


def check_written(folder):
    """Checkpoints of qwha by the steps of GPTQModel's reader."""
    weights = st.load_file(folder / "written.safetensors")
    for name, weight in weights.items():
        config = json.loads((folder / name / "quantize_config.json").read_text())
        model = json.loads((folder / name / "config.json").read_text())
        assert model["quantization_config"] == config and model["model_type"] == "llama"
        version = {"gptq": 1, "gptq_v2": 2}[config["checkpoint_format"]]
        assert config["group_size"] == 32 and config["desc_act"] is False and config["quant_method"] == "gptq"
        assert config["sym"] == (version == 1)
        tensors = st.load_file(folder / name / "model.safetensors")
        prefix, bits = "model.layers.0.mlp.up_proj", config["bits"]
        inputs, out = tensors[prefix + ".g_idx"].shape[0], tensors[prefix + ".scales"].shape[1]
        # the buffers that GPTQModel registers (nn_modules/qlinear/__init__.py, _register_gptq_buffers)
        assert tensors[prefix + ".qweight"].shape == (inputs * bits // 32, out)
        assert tensors[prefix + ".qzeros"].shape == (inputs // 32, out * bits // 32)
        assert tensors[prefix + ".scales"].shape == (inputs // 32, out)
        types = {key.rsplit(".", 1)[1]: str(t.dtype) for key, t in tensors.items()}
        assert types == {"qweight": "int32", "qzeros": "int32", "scales": "float16", "g_idx": "int32",
                         "bias": "float16"}, types
        assert np.array_equal(gptq_dequantize(tensors, prefix, bits, version), weight), name
        # their packer makes the same words of what was unpacked
        codes = unpack_rows(tensors[prefix + ".qweight"], bits)
        assert np.array_equal(pack_rows(codes, bits).view(np.int32), tensors[prefix + ".qweight"]), name
    assert len(weights) == 5


# --- bitsandbytes -----------------------------------------------------------------------------------------------------
NF4 = np.array([
    -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1], np.float32)
FP4 = np.array([0, 0.0625, 8, 12, 4, 6, 2, 3, 0, -0.0625, -8, -12, -4, -6, -2, -3], np.float32) / np.float32(12)


def bnb_by_numpy(name, kind, out, inputs, block, nested):
    """A layer as QuantState.as_dict(packed=True) lays it out, quantized to the nearest level."""
    levels = NF4 if kind == "nf4" else FP4
    count = out * inputs
    weight = random.standard_normal(count).astype(np.float32)
    blocks = np.pad(weight, (0, -count % block)).reshape(-1, block)
    absmax = np.abs(blocks).max(1)
    codes = np.abs(blocks[:, :, None] / absmax[:, None, None] - levels).argmin(2).astype(np.uint8).reshape(-1)[:count]
    state = {"quant_type": kind, "blocksize": block, "dtype": "float32", "shape": [out, inputs]}
    tensors = {f"{name}.weight.quant_map": levels}
    if nested:
        offset = np.float32(absmax.mean())
        pieces = np.pad(absmax - offset, (0, -len(absmax) % 256)).reshape(-1, 256)
        table = np.sort(random.uniform(-1, 1, 256).astype(np.float32))
        scale = np.abs(pieces).max(1)
        nested_codes = np.abs((pieces / scale[:, None])[:, :, None] - table).argmin(2).astype(np.uint8)
        tensors[f"{name}.weight.absmax"] = nested_codes.reshape(-1)[:len(absmax)]
        tensors[f"{name}.weight.nested_absmax"] = scale
        tensors[f"{name}.weight.nested_quant_map"] = table
        state |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": float(offset)}
        # dequantize_blockwise, then absmax += offset
        absmax = (table[nested_codes] * scale[:, None]).reshape(-1)[:len(absmax)] + offset
    else:
        tensors[f"{name}.weight.absmax"] = absmax
    text = json.dumps(state).encode()
    tensors[f"{name}.weight.quant_state.bitsandbytes__{kind}"] = np.frombuffer(text, np.uint8)
    even = np.pad(codes, (0, count % 2))
    tensors[f"{name}.weight"] = ((even[0::2] << 4) | even[1::2]).reshape(-1, 1)
    return tensors, (levels[codes] * np.repeat(absmax, block)[:count]).reshape(out, inputs)


def bnb_by_package(name, kind, out, inputs, block, nested):
    weight = torch.from_numpy(random.standard_normal((out, inputs)).astype(np.float32))
    packed, state = bnb.quantize_4bit(weight, blocksize=block, compress_statistics=nested, quant_type=kind)
    tensors = {f"{name}.weight": packed.numpy()}
    for key, value in state.as_dict(packed=True).items():
        tensors[f"{name}.weight.{key}"] = value.numpy()
    # As one row: the CPU kernel of 0.50.2 takes wrong scales where blocks cross rows (its own generic code does not).
    state.shape = torch.Size([1, out * inputs])
    return tensors, bnb.dequantize_4bit(packed, state).numpy().reshape(out, inputs)


def make_bitsandbytes(folder):
    makers = {"numpy": bnb_by_numpy} | ({"package": bnb_by_package} if bnb else {})
    for maker, make in makers.items():
        tensors = {}
        for kind in ("nf4", "fp4"):
            for nested in (False, True):
                for out, inputs, block in ((64, 128, 64), (300, 96, 64), (7, 64, 128)):
                    module = f"{kind}{'-nested' if nested else ''}-{out}"
                    layer, weight = make(module, kind, out, inputs, block, nested)
                    tensors |= layer
                    expected[f"bnb-{maker}.safetensors|{module}"] = weight
        st.save_file(tensors, folder / f"bnb-{maker}.safetensors")


# --- MXFP4 and NVFP4 --------------------------------------------------------------------------------------------------
def make_fp4(folder):
    out, inputs = 24, 128
    codes = random.integers(0, 256, (out, inputs // 2), np.uint8)
    e2m1 = np.stack([codes & 15, codes >> 4], -1).reshape(out, inputs).view(ml_dtypes.float4_e2m1fn).astype(np.float32)
    exponents = random.integers(0, 253, (out, inputs // 32), np.uint8)
    scales = exponents.view(ml_dtypes.float8_e8m0fnu).astype(np.float32)
    tensors = {"openai_blocks": codes.reshape(2, out // 2, inputs // 32, 16),
               "openai_scales": exponents.reshape(2, out // 2, inputs // 32),
               "packed.weight_packed": codes, "packed.weight_scale": exponents}
    for module in ("openai", "packed"):
        expected[f"fp4.safetensors|{module}"] = e2m1 * np.repeat(scales, 32, 1)
    blocks = random.integers(0, 255, (out, inputs // 16), np.uint8)
    blocks[blocks == 0x7F] = 0x7E
    scales = blocks.view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    for module, scale in (("divisor", np.float32(0.37)), ("multiplier", np.float32(0.0123))):
        divides = module == "divisor"
        tensors[f"{module}.weight_packed" if divides else f"{module}.weight"] = codes
        tensors[f"{module}.weight_scale"] = blocks.view(ml_dtypes.float8_e4m3fn)
        tensors[f"{module}.weight_global_scale" if divides else f"{module}.weight_scale_2"] = np.array([scale])
        block_scale = scales / scale if divides else scales * scale
        expected[f"fp4.safetensors|{module}"] = e2m1 * np.repeat(block_scale, 16, 1)
    st.save_file(tensors, folder / "fp4.safetensors")


# --- split GGUF -------------------------------------------------------------------------------------------------------
def make_split_gguf(folder):
    writer = gguf.GGUFWriter(folder / "split.gguf", "test", split_max_tensors=2)
    for i in range(5):
        weights = random.standard_normal((4, 64), dtype=np.float32)
        blocks = gguf.quantize(weights, gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(f"t{i}", blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        expected[f"split|t{i}"] = gguf.dequantize(blocks, gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert len(list(folder.glob("split-*-of-00003.gguf"))) == 3


program = sys.argv[1]
with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    subprocess.run([program, "write", name], check=True)
    check_written(folder)

    make_gptq(folder)
    make_bitsandbytes(folder)
    make_fp4(folder)
    make_split_gguf(folder)
    subprocess.run([program, "read", name], check=True)
    read = st.load_file(folder / "read.safetensors")
    assert set(expected) <= set(read), set(expected) - set(read)
    matrices = 0
    for label, weights in read.items():
        want = expected[label.removesuffix("|matrix")]
        matrices += label.endswith("|matrix")
        assert weights.shape == want.shape, label
        different = np.flatnonzero(weights != want)
        assert len(different) == 0, (label, len(different), weights.flat[different[0]], want.flat[different[0]])
    assert matrices >= 22 + 12 + 2, matrices
print(f"all agree: {len(expected)} weights, {matrices} as matrices too")
