"""Thumbnails: the very frame that viewers see at a second, and pictures that people upload."""

from __future__ import annotations

import io
import struct
import subprocess
from pathlib import Path

import av
import pytest
from clips import H264, MAX_PIXELS, bench, make, numbered, plan_of, shown_numbers

from media_worker import ffmpeg
from media_worker.encode import make_frame, make_picture
from media_worker.faults import BadInputError

JPEG, PNG, WEBP = ffmpeg.PICTURES


def pixels(image: bytes, *, scale: str = "1:1") -> tuple[tuple[int, int], bytes]:
    """Return the size of a JPEG, and its colours when it is scaled down."""
    assert image.startswith(b"\xff\xd8\xff")
    with av.open(io.BytesIO(image)) as container:
        stream = container.streams.video[0]
        size = (stream.width, stream.height)
    done = subprocess.run(
        [
            *(ffmpeg.binary(), "-v", "error", "-i", "pipe:0", "-vf", f"scale={scale}:flags=area"),
            *("-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"),
        ],
        input=image,
        capture_output=True,
        check=True,
    )
    return size, done.stdout


# -- frames ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("clip.mp4", (*H264, "-g", "50")),
        ("clip.mkv", (*H264, "-g", "250", "-output_ts_offset", "7")),
        ("clip.ts", (*H264, "-g", "50")),
    ],
)
def test_frame_is_the_one_that_viewers_see(
    tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    path = make(tmp_path / name, *numbered(6), *options)
    with bench(path, tmp_path) as workbench:
        plan = plan_of(path, workbench)
        for number in (0, 1, 49, 77, 149):
            image = make_frame(plan, number, workbench)
            assert image is not None
            assert shown_numbers(image) == [number]
        assert make_frame(plan, 170, workbench) is None


def test_pause_shows_the_frame_before_it(tmp_path: Path) -> None:
    pause = ("-vf", "select='lt(n,20)+gt(n,80)'", "-fps_mode", "vfr")
    path = make(tmp_path / "pause.mp4", *numbered(6), *pause, *H264)
    with bench(path, tmp_path) as workbench:
        image = make_frame(plan_of(path, workbench), 50, workbench)
    assert image is not None
    assert shown_numbers(image) == [19]


@pytest.mark.parametrize(
    ("size", "turned", "expected"),
    [
        ("1920x1080", (), (1280, 720)),
        ("640x360", (), (640, 360)),
        ("1920x1080", ("-display_rotation", "90"), (1080, 1920)),
    ],
)
def test_frame_fits_the_largest_thumbnail(
    tmp_path: Path, size: str, turned: tuple[str, ...], expected: tuple[int, int]
) -> None:
    # Without a tag, colours of pictures of 720 lines and more are taken to be those of HD.
    matrix = "bt709" if size == "1920x1080" else "smpte170m"
    red = ("-f", "lavfi", "-i", f"color=red:s={size}:r=5:d=1,scale=out_color_matrix={matrix}")
    path = make(tmp_path / "red.mp4", *red, *H264)
    if turned:
        path = make(tmp_path / "turned.mp4", *turned, "-i", str(path), "-c", "copy")
    with bench(path, tmp_path) as workbench:
        image = make_frame(plan_of(path, workbench), 2, workbench)
    assert image is not None
    found, (red_part, green, blue) = pixels(image)
    assert found == expected
    assert red_part > 240
    assert max(green, blue) < 16


# -- pictures --------------------------------------------------------------------------------------


def a_picture(tmp_path: Path, name: str, source: str, *options: str) -> Path:
    return make(tmp_path / name, "-f", "lavfi", "-i", source, "-frames:v", "1", *options)


@pytest.mark.parametrize(
    ("kind", "name", "options"),
    [
        (JPEG, "a.jpg", ("-q:v", "2")),
        (PNG, "a.png", ()),
        (PNG, "deep.png", ("-pix_fmt", "rgb48be")),
        (PNG, "grey.png", ("-pix_fmt", "gray")),
        (WEBP, "a.webp", ("-c:v", "libwebp")),
    ],
)
@pytest.mark.parametrize(
    ("size", "expected"),
    [((1600, 800), (1280, 640)), ((300, 200), (300, 200)), ((100, 5000), (52, 2560))],
)
def test_picture_becomes_a_jpeg_that_fits(
    tmp_path: Path,
    kind: str,
    name: str,
    options: tuple[str, ...],
    size: tuple[int, int],
    expected: tuple[int, int],
) -> None:
    path = a_picture(tmp_path, name, f"color=white:s={size[0]}x{size[1]}", *options)
    with bench(path, tmp_path) as workbench:
        found, colour = pixels(make_picture(kind, workbench))
    assert found == expected
    assert min(colour) > 240


def test_what_is_transparent_becomes_white(tmp_path: Path) -> None:
    half = "color=black:s=64x64,format=rgba,geq=r=0:g=0:b=0:a='if(lt(X,32),255,0)'"
    path = a_picture(tmp_path, "half.png", half)
    with bench(path, tmp_path) as workbench:
        _, colours = pixels(make_picture(PNG, workbench), scale="2:1")
    assert max(colours[:3]) < 16
    assert min(colours[3:]) > 240


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-400])


def garbled(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[60:400] = bytes(340)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(("kind", "name"), [(JPEG, "a.jpg"), (PNG, "a.png")])
@pytest.mark.parametrize("damage", [cut, garbled])
def test_damaged_picture_is_refused(tmp_path: Path, kind: str, name: str, damage: object) -> None:
    path = a_picture(tmp_path, name, "testsrc2=s=320x240")
    assert callable(damage)
    damage(path)
    with bench(path, tmp_path) as workbench, pytest.raises(BadInputError, match="damaged_picture"):
        make_picture(kind, workbench)


def test_picture_of_too_many_pixels_is_not_unpacked(tmp_path: Path) -> None:
    lines = MAX_PIXELS // 2000 + 100
    path = a_picture(tmp_path, "large.png", f"color=white:s=2000x{lines}")
    with bench(path, tmp_path) as workbench, pytest.raises(BadInputError, match="damaged_picture"):
        make_picture(PNG, workbench)


def test_video_in_the_place_of_a_picture_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", *numbered(1), *H264)
    with bench(path, tmp_path) as workbench:
        for kind in ffmpeg.PICTURES:
            with pytest.raises(BadInputError, match="damaged_picture"):
                make_picture(kind, workbench)


def test_photograph_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    path = a_picture(tmp_path, "a.jpg", "color=white:s=320x200")
    data = path.read_bytes()
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    path.write_bytes(data[:2] + segment + data[2:])
    with bench(path, tmp_path) as workbench:
        size, _ = pixels(make_picture(JPEG, workbench))
    assert size == (200, 320)
