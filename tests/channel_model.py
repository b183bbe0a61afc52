"""The channel and the runner that drive sources in tests; they are in the package, for users."""

from __future__ import annotations

from rayflume.testing._flow import ChannelModel, Flow

__all__ = ["ChannelModel", "Flow"]
