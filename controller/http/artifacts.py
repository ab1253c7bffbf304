"""`/artifacts/{digest}`: blobs by digest, put by converters, fetched by devices that MQTT fails.

A strong ETag is the digest itself; ranges are answered by Starlette's file response (206, 416), and whole where
`If-Range` names another ETag. What a device needs to judge each block, the list of their hashes, lies beside.
"""

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response

from wherry.controller.http.bodies import BodyTooLarge, answer
from wherry.controller.http.desk import AtDesk, Desk
from wherry.controller.operations import registry
from wherry.protocol.blob import BlobRef, sha256

WRITE_BYTES = 1024 * 1024
"""Collected before a thread is asked to write."""

router = APIRouter(prefix="/artifacts", tags=["artifacts"])


@router.put("/{digest}")
async def put_artifact(digest: str, request: Request, desk: AtDesk) -> Response:
    """Keep the raw bytes of the body, which must have this digest. Idempotent: 201 when new, 200 when there."""
    if desk.artifacts.has(digest):
        return answer(await _record(desk, digest), 200)
    _check_length(request.headers.get("content-length"), desk.config.max_artifact_bytes)
    await _receive(digest, request, desk)
    return answer(await _record(desk, digest), 201, Location=request.url.path)


@router.get("/{digest}")
@router.head("/{digest}", include_in_schema=False)
async def get_artifact(digest: str, desk: AtDesk) -> Response:
    """The bytes, or the ranges asked for. They never change, so they may be kept for ever."""
    path = desk.artifacts.path(digest)
    headers = {"ETag": f'"{digest}"', "Cache-Control": "public, max-age=31536000, immutable"}
    return FileResponse(path, headers=headers, media_type="application/octet-stream")


@router.get("/{digest}/hashes")
async def get_hashes(digest: str, desk: AtDesk) -> Response:
    """The hashes of the artifact's blocks of 64 KiB, 32 bytes each: with them every block is verified on its own."""
    listed = await asyncio.to_thread(desk.artifacts.hash_list, digest)
    headers = {"ETag": f'"{sha256(listed)}"', "Cache-Control": "public, max-age=31536000, immutable"}
    return Response(listed, headers=headers, media_type="application/octet-stream")


def _check_length(announced: str | None, limit_bytes: int) -> None:
    if announced is not None and announced.isdigit() and int(announced) > limit_bytes:
        raise BodyTooLarge(limit_bytes)


async def _receive(digest: str, request: Request, desk: Desk) -> None:
    with desk.artifacts.receive(digest) as upload:
        pending = bytearray()
        async for chunk in request.stream():
            pending += chunk
            if upload.size_bytes + len(pending) > desk.config.max_artifact_bytes:
                raise BodyTooLarge(desk.config.max_artifact_bytes)
            if len(pending) >= WRITE_BYTES:
                await asyncio.to_thread(upload.write, bytes(pending))
                pending.clear()
        upload.write(bytes(pending))
        await asyncio.to_thread(upload.commit)


async def _record(desk: Desk, digest: str) -> BlobRef:
    ref = await asyncio.to_thread(desk.artifacts.ref, digest)
    await desk.ledger.run(registry.add_blob, ref, now_s=desk.now_s(), has=desk.artifacts.has)
    return ref
