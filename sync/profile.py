"""Profile: the policies that databases of well-known names have before anybody says anything.

The default is that of an AI companion. All devices of a mesh must hold it alike, so it is part of
the program and not a file; another profile is loaded as policies of the mesh.

Spec: docs/protocol.md, section 12.
"""

from collections.abc import Mapping

from .policy import Settings

COMPANION: Mapping[tuple[bytes, str], Settings] = {
    (b"", "profile"): {"priority": "high"},
    (b"", "conversations"): {"priority": "medium"},
    (b"", "personality"): {"priority": "high"},
    (b"", "embeddings"): {"mode": "on-demand", "priority": "low"},
    (b"", "analytics"): {"mode": "periodic", "priority": "low"},
    (b"", "media"): {"priority": "low", "blobs": "thumbnail"},
    (b"", "cache"): {"mode": "local-only", "priority": "none"},
    (b"", ""): {"tag.personal": "private", "tag.confidential": "device"},
}
"""As policies of every device. A database that is not named here is synced in full."""
