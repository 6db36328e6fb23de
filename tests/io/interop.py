# SPDX-License-Identifier: MIT
"""Our files against the official Python packages: reads what qwha wrote, writes what qwha then reads.

interop.py PROGRAM, the program being tests_io_interop. Exits with 4 (skipped) where a package is missing."""

import pathlib
import subprocess
import sys
import tempfile

try:
    import gguf
    import numpy as np
    import safetensors.numpy as st
    from safetensors import safe_open
except ImportError as missing:
    print("skipped:", missing)
    sys.exit(4)

program = sys.argv[1]
with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    subprocess.run([program, "write", name], check=True)

    # What qwha wrote, read by the official packages.
    ours = st.load_file(folder / "ours.safetensors")
    assert set(ours) == {"f32", "i64", "f16", "u8", "scalar", "empty"}, set(ours)
    assert np.array_equal(ours["f32"], np.array([[1, 2, 3], [4, 5, 6.5]], np.float32))
    assert np.array_equal(ours["i64"], np.array([-1, 2**40], np.int64))
    assert np.array_equal(ours["f16"], np.array([0.5, -2], np.float16))
    assert np.array_equal(ours["u8"], np.array([255], np.uint8))
    assert ours["scalar"].shape == () and ours["scalar"] == 2.25
    assert ours["empty"].shape == (0, 3)
    with safe_open(folder / "ours.safetensors", "np") as file:
        assert file.metadata() == {"format": "pt"}, file.metadata()
    again = st.save(ours, metadata={"format": "pt"})
    assert again == (folder / "ours.safetensors").read_bytes(), "the official writer gives other bytes"

    reader = gguf.GGUFReader(folder / "ours.gguf")
    assert reader.get_field("general.architecture").contents() == "test"
    assert reader.get_field("count").contents() == 7
    assert reader.get_field("texts").contents() == ["a", "", "\u00e9"]
    assert reader.get_field("numbers").contents() == [1.5, -2.0]
    tensors = {t.name: t for t in reader.tensors}
    assert np.array_equal(tensors["f32"].data, ours["f32"]), tensors["f32"].data
    assert tensors["q8_0"].tensor_type == gguf.GGMLQuantizationType.Q8_0
    assert np.array_equal(gguf.dequantize(tensors["q8_0"].data, gguf.GGMLQuantizationType.Q8_0)[0],
                          np.arange(32, dtype=np.float32) * 0.5)

    adapter = st.load_file(folder / "adapter.safetensors")
    assert np.array_equal(adapter["m.qwha_row_ptr"], [0, 1, 1, 3])
    assert np.array_equal(adapter["m.qwha_col"], [5, 0, 23])
    assert np.array_equal(adapter["m.qwha_val"], np.array([1, -2, 0.5], np.float32))
    assert {t.name for t in gguf.GGUFReader(folder / "adapter.gguf").tensors} == {
        "m.weight.qwha_row_ptr", "m.weight.qwha_col", "m.weight.qwha_val"}

    # What they write, read by qwha: every type, values i * i - 20 in shape [3, 4], and all block formats.
    values = (np.arange(12) ** 2 - 20).reshape(3, 4)
    numbers = [np.float16, np.float32, np.float64, np.int16, np.int32, np.int64, np.int8]
    st.save_file({np.dtype(t).name: values.astype(t) for t in numbers} |
                 {"uint8": (values % 256).astype(np.uint8), "bool": values > 0}, folder / "theirs.safetensors")
    writer = gguf.GGUFWriter(folder / "theirs.gguf", "test")
    writer.add_uint32("u32", 4000000000)
    writer.add_float64("f64", 0.1)
    writer.add_bool("yes", True)
    writer.add_array("texts", ["a", "", "\u00e9"])
    writer.add_array("ints", [1, -2, 3])
    for t in numbers:
        writer.add_tensor(np.dtype(t).name, values.astype(t))
    random = np.random.default_rng(1)
    weights = random.standard_normal((4, 512), dtype=np.float32)
    expected = {}
    for kind in ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "BF16", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]:
        type_id = gguf.GGMLQuantizationType[kind]
        try:
            blocks = gguf.quantize(weights, type_id)
        except NotImplementedError:  # the package cannot make K blocks: random codes, moderate scales
            block, size = gguf.GGML_QUANT_SIZES[type_id]
            blocks = random.integers(0, 256, (4, 512 // block * size), dtype=np.uint8).reshape(4, -1, size)
            halves = {"Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}[kind]
            for at in halves:
                scale = random.standard_normal(blocks.shape[:2]).astype(np.float16)
                blocks[..., at:at + 2] = scale[..., None].view(np.uint8)
            blocks = blocks.reshape(4, -1)
        writer.add_tensor(kind, blocks, raw_dtype=type_id)
        expected[kind] = gguf.dequantize(blocks, type_id)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    st.save_file(expected, folder / "expected.safetensors")
    subprocess.run([program, "read", name], check=True)
print("all agree")
