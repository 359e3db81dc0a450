"""Exports of chat services, small and of the shape that the services write, for tests."""

import json
import zipfile
from pathlib import Path
from typing import Any

CHAT = "6501d7a9-3f44-8005-9c6e-0a1b2c3d4e5f"
PICTURE = b"\x89PNG\r\n\x1a\n" + b"picture" * 50


def node(
    name: str,
    parent: str | None,
    role: str = "user",
    parts: list[Any] | None = None,
    at: float | None = 1_700_000_000.5,
    **more: Any,
) -> dict[str, Any]:
    """One node of a ChatGPT conversation; without `parts` it has no message."""
    message = None
    if parts is not None:
        message = {
            "id": name,
            "author": {"role": role, "name": None, "metadata": {}},
            "create_time": at,
            "update_time": None,
            "content": {"content_type": "text", "parts": parts},
            "status": "finished_successfully",
            "end_turn": True,
            "weight": 1.0,
            "metadata": {},
            "recipient": "all",
            **more,
        }
    return {"id": name, "message": message, "parent": parent, "children": []}


def chatgpt_conversation(nodes: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A conversation of ChatGPT as its export has it."""
    return {
        "title": "Tea in the garden",
        "create_time": 1_700_000_000.25,
        "update_time": 1_700_000_100.0,
        "mapping": {each["id"]: each for each in nodes},
        "moderation_results": [],
        "current_node": nodes[-1]["id"],
        "plugin_ids": None,
        "conversation_id": CHAT,
        "conversation_template_id": None,
        "gizmo_id": None,
        "is_archived": False,
        "safe_urls": [],
        "default_model_slug": "gpt-4o",
        "id": CHAT,
        **more,
    }


def a_tree() -> dict[str, Any]:
    """A question that was edited and an answer that was made again; the last branch is shown."""
    return chatgpt_conversation(
        [
            node("root", None),
            node("system", "root", "system", [""]),
            node("q1", "system", "user", ["Which tea?"]),
            node("a1", "q1", "assistant", ["Green."], metadata={"model_slug": "gpt-4"}),
            node("q1b", "system", "user", ["Which tea at night?"], at=1_700_000_050),
            node("a2", "q1b", "assistant", ["Mint."]),
            node(
                "picture",
                "a2",
                "user",
                [
                    {
                        "content_type": "image_asset_pointer",
                        "asset_pointer": "sediment://file_00000000aaaa",
                        "size_bytes": len(PICTURE),
                        "width": 8,
                        "height": 8,
                    },
                    "This one?",
                ],
                metadata={
                    "attachments": [
                        {
                            "id": "file_00000000aaaa",
                            "name": "cup.png",
                            "size": len(PICTURE),
                            "mime_type": "image/png",
                        }
                    ]
                },
            ),
            node("a3", "picture", "assistant", ["Yes."], metadata={"model_slug": "gpt-4o"}),
        ]
    )


def claude_conversation(**more: Any) -> dict[str, Any]:
    """A conversation of Claude as its export has it."""
    return {
        "uuid": "0f9d3c1e-5b8a-4a7e-9c21-1234567890ab",
        "name": "Bread",
        "summary": "",
        "created_at": "2025-03-01T10:00:00.123456Z",
        "updated_at": "2025-03-01T10:05:00.000000+00:00",
        "account": {"uuid": "11111111-2222-4333-8444-555555555555"},
        "chat_messages": [
            {
                "uuid": "m1",
                "text": "How long does it rise?",
                "content": [{"type": "text", "text": "How long does it rise?", "citations": []}],
                "sender": "human",
                "created_at": "2025-03-01T10:00:01Z",
                "updated_at": "2025-03-01T10:00:01Z",
                "attachments": [
                    {
                        "file_name": "recipe.txt",
                        "file_size": 12,
                        "file_type": "txt",
                        "extracted_content": "flour, water",
                    }
                ],
                "files": [{"file_name": "loaf.jpg"}],
            },
            {
                "uuid": "m2",
                "text": "",
                "content": [
                    {"type": "thinking", "thinking": "It is cold there."},
                    {"type": "tool_use", "name": "clock", "input": {"zone": "UTC"}},
                    {"type": "tool_result", "content": [{"type": "text", "text": "10:00"}]},
                    {"type": "text", "text": "Two hours."},
                ],
                "sender": "assistant",
                "created_at": "2025-03-01T10:00:09Z",
                "updated_at": "2025-03-01T10:00:09Z",
                "attachments": [],
                "files": [],
            },
        ],
        **more,
    }


def write_json(path: Path, conversations: object) -> Path:
    """conversations.json alone."""
    path.write_text(json.dumps(conversations), encoding="utf-8")
    return path


def write_zip(path: Path, files: dict[str, bytes | object]) -> Path:
    """An archive; what is not bytes becomes JSON."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            whole = content if isinstance(content, bytes) else json.dumps(content).encode()
            archive.writestr(name, whole)
    return path


def chatgpt_zip(path: Path) -> Path:
    """An export of ChatGPT with one conversation and the picture that it speaks of."""
    return write_zip(
        path,
        {
            "conversations.json": [a_tree()],
            "user.json": {"id": "user-1"},
            "file_00000000aaaa-sanitized.png": PICTURE,
        },
    )
