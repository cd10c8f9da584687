"""Loads exported checkpoints as somebody without this package does: python elsewhere.py CASES OUTPUT."""

import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

sys.modules["mambadapter"] = None  # importing it fails

RATE = 16000


def answers(auto, folder, clips, tokens):
    """Logits and, of recognisers, texts."""
    classifies = auto == "AutoModelForAudioClassification"
    kind = "AutoFeatureExtractor" if classifies else "AutoProcessor"
    processor = getattr(transformers, kind).from_pretrained(folder)
    model = getattr(transformers, auto).from_pretrained(folder)
    arrays = [clip.numpy() for clip in clips]
    with torch.no_grad():
        if auto == "AutoModelForSpeechSeq2Seq":
            inputs = processor(arrays, sampling_rate=RATE, return_tensors="pt")
            logits = model(**inputs, decoder_input_ids=tokens).logits
            return logits, processor.batch_decode(
                model.generate(**inputs), skip_special_tokens=True
            )
        inputs = processor(arrays, sampling_rate=RATE, return_tensors="pt", padding=True)
        logits = model(**inputs).logits
    if classifies:
        return logits, [model.config.id2label[index] for index in logits.argmax(-1).tolist()]
    return logits, processor.batch_decode(logits.argmax(-1), skip_special_tokens=True)


def main(cases, output):
    tensors, texts = {}, {}
    for name, case in json.loads(Path(cases).read_text()).items():
        inputs = load_file(case["inputs"])
        clips = [inputs[key] for key in sorted(inputs) if key.startswith("clip")]
        tensors[name], texts[name] = answers(
            case["auto"], case["folder"], clips, inputs.get("tokens")
        )
    save_file(tensors, f"{output}/logits.safetensors")
    Path(output, "texts.json").write_text(json.dumps(texts))


if __name__ == "__main__":
    main(*sys.argv[1:])
