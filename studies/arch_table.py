"""An architecture as a table that people read: a row for each stage, a column for each decision. Imports no torch."""

from dataclasses import dataclass

from search_space.arch import ArchConfig, AttentionConfig, PathConfig, StageConfig

COLUMNS = ("part", "latent", "channels", "down", "up", "convolution", "attention", "feed-forward")


@dataclass(frozen=True, kw_only=True)
class ArchTable:
    """What the table shows."""

    rows: tuple[tuple[str, ...], ...]
    """A cell for each of `COLUMNS`; stages from the highest resolution to the lowest, then the middle."""
    facts: tuple[tuple[str, str], ...]
    """What holds for the whole network, as name and value."""


def arch_table(arch: ArchConfig) -> ArchTable:
    """The readable form of an architecture."""
    rows = [_stage_row(arch, index) for index in range(len(arch.stages))]
    size = arch.size_at(len(arch.stages) - 1)
    channels = str(arch.mid_stage.channels)
    rows.append(("middle", f"{size} x {size}", channels, _path_text(arch.mid), "", "", "", ""))
    facts = (
        ("downsampler", arch.downsampler),
        ("upsampler", arch.upsampler),
        ("projection", arch.projection),
        ("time embedding", str(arch.time_embedding_width)),
        ("text", f"{arch.context_length} tokens of {arch.context_width}"),
        ("latent", f"{arch.sample_size} x {arch.sample_size}, {arch.in_channels} to {arch.out_channels} channels"),
    )
    return ArchTable(rows=tuple(rows), facts=facts)


def _stage_row(arch: ArchConfig, index: int) -> tuple[str, ...]:
    stage = arch.stages[index]
    size = arch.size_at(index)
    has_transformer = stage.down.has_transformer or stage.up.has_transformer
    feed_forward = f"{stage.feed_forward.kind} x{stage.feed_forward.expansion}"
    return (
        f"stage {index}",
        f"{size} x {size}",
        str(stage.channels),
        _path_text(stage.down),
        _path_text(stage.up),
        _convolution_text(stage),
        _attention_text(stage.attention, stage.num_heads) if has_transformer else "none",
        feed_forward if has_transformer else "none",
    )


def _path_text(path: PathConfig) -> str:
    """`2 blocks, transformers 0+1 (self, cross)`."""
    num_blocks = len(path.transformer_depths)
    text = f"{num_blocks} block" + "s" * (num_blocks != 1)
    if not path.has_transformer:
        return text
    attends = [name for name, is_on in (("self", path.self_attention), ("cross", path.cross_attention)) if is_on]
    depths = "+".join(map(str, path.transformer_depths))
    return f"{text}, transformers {depths} ({', '.join(attends) or 'feed-forward only'})"


def _convolution_text(stage: StageConfig) -> str:
    convolution = stage.convolution
    text = f"{convolution.kind} {convolution.kernel}x{convolution.kernel}"
    if convolution.kind == "separable":
        text += f", expands {convolution.expansion}x {convolution.hidden_width}"
    return text


def _attention_text(attention: AttentionConfig, num_heads: int) -> str:
    if attention.num_kv_heads == num_heads:
        kind = "MHSA"
    else:
        kind = "MQA" if attention.num_kv_heads == 1 else f"GQA/{attention.num_kv_heads}"
    extras = ["QK-norm"] * (attention.qk_norm != "none") + ["RoPE"] * attention.rope
    return ", ".join([f"{kind}, {num_heads} x {attention.head_dim}", *extras])
