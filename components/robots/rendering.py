"""The one place that talks to OpenGL: picks a headless backend and renders MuJoCo scenes into arrays.

EGL is tried first (a GPU or Mesa's software rasteriser), then OSMesa. `MUJOCO_GL=egl|osmesa` overrides the choice.
One GL context serves the whole process and all image sizes, because creating one costs more than an episode.
"""

from __future__ import annotations

import atexit
import os
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.store.errors import ConfigurationError

MAX_WIDTH, MAX_HEIGHT = 960, 768
"""The largest image: AgiBot-World's fisheyes. Scenes must declare an offscreen buffer of this size."""


@lru_cache(maxsize=1)
def gl_context() -> Any:
    """The process's GL context, made current. Raises ConfigurationError naming the missing system library."""
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    failures = []
    for backend in ("egl", "osmesa"):
        if wanted in ("egl", "osmesa") and backend != wanted:
            continue
        os.environ["PYOPENGL_PLATFORM"] = backend
        try:
            context = _open(backend)
        except Exception as error:  # PyOpenGL raises ImportError, AttributeError, RuntimeError or GLError by driver
            failures.append(f"{backend}: {error}")
            _forget_opengl()
            continue
        atexit.register(context.free)
        return context
    raise ConfigurationError(
        "no headless OpenGL to render with (" + "; ".join(failures) + "). "
        "Install one: `apt-get install libegl1 libgl1-mesa-dri` or `apt-get install libosmesa6`"
    )


def _open(backend: str) -> Any:
    if backend == "egl":
        from mujoco.egl import GLContext
    else:
        from mujoco.osmesa import GLContext
    context = GLContext(MAX_WIDTH, MAX_HEIGHT)
    context.make_current()
    return context


def _forget_opengl() -> None:
    """PyOpenGL binds its platform at import: drop what a failed backend left before the next is tried."""
    import sys

    for name in [n for n in sys.modules if n == "OpenGL" or n.startswith(("OpenGL.", "mujoco.egl", "mujoco.osmesa"))]:
        del sys.modules[name]


class SceneRenderer:
    """Renders one MuJoCo model from its named cameras, at any size up to 960x768."""

    def __init__(self, model: Any) -> None:
        import mujoco

        gl_context()
        self._mujoco = mujoco
        self._model = model
        self._scene = mujoco.MjvScene(model=model, maxgeom=1000)
        self._option = mujoco.MjvOption()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        _drop_stencil(self._context)

    def color(self, data: Any, camera: int, width: int, height: int) -> NDArray[np.uint8]:
        """RGB uint8 (height, width, 3), first row on top; its rows lie in memory in the opposite order."""
        image = np.empty((height, width, 3), np.uint8)
        rect = self._draw(data, camera, width, height)
        self._mujoco.mjr_readPixels(image, None, rect, self._context)
        return image[::-1]

    def rgba(self, data: Any, camera: int, width: int, height: int) -> NDArray[np.uint8]:
        """`color` with a fourth channel of no meaning, uint8 (height, width, 4).

        This is how OpenGL holds the image: to leave a channel out costs ten times a copy.
        """
        from OpenGL import GL

        image = np.empty((height, width, 4), np.uint8)
        self._draw(data, camera, width, height)
        GL.glReadPixels(0, 0, width, height, GL.GL_RGBA, GL.GL_UNSIGNED_BYTE, array=image)
        return image[::-1]

    def depth(self, data: Any, camera: int, width: int, height: int) -> NDArray[np.uint16]:
        """Distance along the optical axis in mm, uint16 (height, width); 0 where nothing is within 65 m."""
        buffer = np.empty((height, width), np.float32)
        rect = self._draw(data, camera, width, height, flat=True)
        self._mujoco.mjr_readPixels(None, buffer, rect, self._context)
        extent = self._model.stat.extent
        near, far = self._model.vis.map.znear * extent, self._model.vis.map.zfar * extent
        # Reversed z: the buffer holds 1 at the near plane and 0 at the far plane.
        metres = near * far / (near + buffer[::-1].astype(np.float64) * (far - near))
        millimetres = np.rint(metres * 1000.0)
        return np.where(metres < 0.999 * far, np.minimum(millimetres, 65535), 0).astype(np.uint16)

    def segmentation(self, data: Any, camera: int, width: int, height: int) -> NDArray[np.int32]:
        """Geom id of each pixel, int32 (height, width); -1 where there is none."""
        image = np.empty((height, width, 3), np.uint8)
        rect = self._draw(data, camera, width, height, flat=True)
        self._mujoco.mjr_readPixels(image, None, rect, self._context)
        ids = image[::-1].astype(np.int32) @ np.array([1, 256, 65536], np.int32)
        table = np.full(self._scene.ngeom + 1, -1, np.int32)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.segid >= 0 and geom.objtype == self._mujoco.mjtObj.mjOBJ_GEOM.value:
                table[geom.segid + 1] = geom.objid
        return table[ids]

    def close(self) -> None:
        """Free the GPU-side buffers."""
        gl_context().make_current()
        self._context.free()

    def _draw(self, data: Any, camera: int, width: int, height: int, flat: bool = False) -> Any:
        mujoco = self._mujoco
        if not (0 < width <= MAX_WIDTH and 0 < height <= MAX_HEIGHT):
            raise ConfigurationError(f"image size {width}x{height} is outside 1x1 .. {MAX_WIDTH}x{MAX_HEIGHT}")
        self._camera.fixedcamid = camera
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, data, self._option, None, self._camera, everything, self._scene)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flat
        self._scene.flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = flat
        rect = mujoco.MjrRect(0, 0, width, height)
        # Another renderer of this process may have bound its own buffer since.
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        mujoco.mjr_render(rect, self._scene, self._context)
        return rect


def _drop_stencil(context: Any) -> None:
    """Give a MuJoCo context's offscreen buffer depth alone, of the same 32 bits.

    MuJoCo asks for a stencil beside it, which only reflections use. A software rasteriser then moves twice the bytes
    for each pixel, and clears them one by one, since a stencil is to be kept: 8 % of a frame.
    """
    import mujoco
    from OpenGL import GL

    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, context)
    GL.glFramebufferRenderbuffer(GL.GL_FRAMEBUFFER, GL.GL_STENCIL_ATTACHMENT, GL.GL_RENDERBUFFER, 0)
    GL.glBindRenderbuffer(GL.GL_RENDERBUFFER, context.offDepthStencil)
    size = (context.offWidth, context.offHeight)
    GL.glRenderbufferStorage(GL.GL_RENDERBUFFER, GL.GL_DEPTH_COMPONENT32F, *size)
