# singlepoll puts this folder in front of PYTHONPATH, so that Python programs under it load this file at their start. It leads their
# connections to api.telegram.org, port 443, to singlepoll's gateway on this machine (_singlepoll_hook.py), and then loads the
# sitecustomize that would have been loaded without it. Any Python may load it, hence the old syntax.
# `singlepoll start --intercept off` keeps it out.
import os
import sys


def _load():
    here = os.path.dirname(os.path.abspath(__file__))
    if sys.version_info >= (3, 6):
        try:
            import _singlepoll_hook

            _singlepoll_hook.begin()
        except Exception:
            pass  # The program comes first.
    sys.path[:] = [it for it in sys.path if os.path.abspath(it or ".") != here]
    sys.path_importer_cache.pop(here, None)
    ours = sys.modules.pop("sitecustomize", None)
    try:
        import sitecustomize  # noqa: F401  (the user's own, or the system's)
    except ImportError as error:
        if "sitecustomize" not in str(error):
            raise
    finally:
        # It must be there in the end: the import machinery looks for it.
        sys.modules.setdefault("sitecustomize", ours)


_load()
