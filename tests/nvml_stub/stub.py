"""The NVML stub under the name that tests know it by; it lives with the other real parts, where the lab uses it too."""

from tools.real_parts.nvml_stub import NEWEST_DRIVER, StubState, build_stub, uuid_of

__all__ = ["NEWEST_DRIVER", "StubState", "build_stub", "uuid_of"]
