"""From a proxy's config to the proxy."""

from typing import TYPE_CHECKING, assert_never

from proxies.base import AbstractProxy
from proxies.config import DistillationProxyConfig, MacsProxyConfig, NumParamsProxyConfig, ProxyConfig, proxy_config
from proxies.macs import MacsProxy
from proxies.num_params import NumParamsProxy
from search_space.errors import UsageError
from training.config import SpaceToDepthConfig

if TYPE_CHECKING:  # both import torch, which counting proxies do without
    from training.data.base import CaptionedImages
    from training.model import TextToImage


def open_proxy(
    proxy: str | ProxyConfig,
    *,
    data: "CaptionedImages | None" = None,
    codec: SpaceToDepthConfig | None = None,
    teacher: "TextToImage | None" = None,
) -> AbstractProxy:
    """The proxy of that name (default settings) or config.

    Args:
        proxy: A name of `PROXY_CONFIGS`, or a config.
        data: What candidates are trained and judged on, for proxies that train.
        codec: The candidates' latents; the teacher's if there is one.
        teacher: Whom candidates follow, for proxies that distil.
    """
    config = proxy_config(proxy) if isinstance(proxy, str) else proxy
    match config:
        case NumParamsProxyConfig():
            return NumParamsProxy()
        case MacsProxyConfig():
            return MacsProxy()
        case DistillationProxyConfig():
            from proxies.distillation import DistillationProxy

            if data is None:
                raise UsageError("the distillation proxy without data", fix="give it captioned images")
            own_codec = teacher.codec.config if teacher is not None else codec or SpaceToDepthConfig()
            return DistillationProxy(config, data=data, codec=own_codec, teacher=teacher)
        case _:
            assert_never(config)
