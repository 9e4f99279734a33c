"""Each layer of the sandbox alone: a program tries what this layer forbids, the others being off.

Every attempt is also made without the layer, where it must get through: so it is the layer that
held it, and neither the machine nor the rights of the user.
"""

import json
import resource
import shutil
import socket
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from boxes import LIMITS, guarded, printed
from machine import IS_ROOT, UNSHARE, landlock_abi, needs

from lecture_grader.sandbox import mounts as tree
from lecture_grader.sandbox.confine import Box

INNER_ROOT = ("unshare", "--user", "--map-root-user", "--uts")  # a user with every capability

ATTEMPT = """
import ctypes, errno, os, signal, socket, subprocess, sys
from lecture_grader.sandbox import linux
from lecture_grader.sandbox import seccomp
from lecture_grader.sandbox import mounts as tree

libc = ctypes.CDLL(None, use_errno=True)

def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result

def call(name, *arguments):
    return checked(getattr(libc, name)(*arguments))

def number(number, *arguments):
    return checked(libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments)))

def attempt(code):
    try:
        exec(code)
    except OSError as error:
        return errno.errorcode[error.errno]
    except MemoryError:
        return "ENOMEM"
    return "through"
"""


def attempted(code: str, layer: str = "", *arguments: str, wrapper: tuple[str, ...] = ()) -> str:
    """The name of the error that an attempt ends with after `layer`, or "through"."""
    program = f"{ATTEMPT}\n{layer}\nprint(attempt(sys.argv[1]))"
    (line,) = printed(program, code, *arguments, wrapper=wrapper)
    return line


# ---------------------------------------------------------------------------- seccomp

SECCOMP = "linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)\nseccomp.forbid()"
CLONE_WITH_A_NAMESPACE = """
import platform
clone = {'x86_64': 56, 'aarch64': 220}[platform.machine()]
child = number(clone, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
"""


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("call('personality', ctypes.c_ulong(0xFFFFFFFF))", "EPERM"),
        ("call('ptrace', 0, 0, 0, 0)", "EPERM"),
        ("call('unshare', 0x10000000)", "EPERM"),
        ("os.memfd_create('memory')", "EPERM"),
        ("call('shmctl', call('shmget', 0, 4096, 0o1600), 0, None)", "EPERM"),
        ("call('msgctl', call('msgget', 0, 0o1600), 0, None)", "EPERM"),
        ("call('semctl', call('semget', 0, 1, 0o1600), 0, 0)", "EPERM"),
        ("socket.socket()", "EAFNOSUPPORT"),
        ("socket.socket(type=socket.SOCK_DGRAM)", "EAFNOSUPPORT"),
        ("socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)", "EAFNOSUPPORT"),
        (CLONE_WITH_A_NAMESPACE, "EPERM"),
    ],
)
def test_seccomp_alone_refuses_a_call_that_anyone_may_make(code, error):
    needs("seccomp")
    needs("namespaces")
    assert attempted(code) == "through"
    assert attempted(code, SECCOMP) == error


@pytest.mark.parametrize(
    "code",
    [
        "call('mount', b'none', b'/sys', b'tmpfs', ctypes.c_ulong(0), None)",
        "call('umount2', b'/nowhere', 0)",
        "call('chroot', b'/')",
        "call('setns', os.open('/proc/self/ns/uts', os.O_RDONLY), 0)",
        "number(428, -100, 0, 0)  # open_tree",
        "number(429, -1, 0, -1, 0, 0)  # move_mount",
        "number(430, 0, 0)  # fsopen",
        "number(438, -1, 0, 0)  # pidfd_getfd",
        "number(442, -1, 0, 0, 0, 0)  # mount_setattr",
    ],
)
def test_seccomp_alone_refuses_a_call_that_needs_capabilities(code):
    needs("seccomp")
    needs("namespaces")
    wrapper = (*INNER_ROOT, "--mount")
    assert attempted(code, wrapper=wrapper) != "EPERM"
    assert attempted(code, SECCOMP, wrapper=wrapper) == "EPERM"


def test_seccomp_hides_the_call_whose_flags_it_cannot_read():
    needs("seccomp")
    clone3 = "number(435, 0, 0)"
    assert attempted(clone3) == "EINVAL"
    assert attempted(clone3, SECCOMP) == "ENOSYS"


@pytest.mark.parametrize(
    "code",
    [
        "socket.socket(socket.AF_UNIX)",
        "socket.socketpair()",
        "subprocess.run(['true'], check=True)",
        "import threading; thread = threading.Thread(target=int); thread.start(); thread.join()",
    ],
)
def test_seccomp_lets_through_what_a_kernel_needs(code):
    needs("seccomp")
    assert attempted(code, SECCOMP) == "through"


# ---------------------------------------------------------------------------- Landlock

LANDLOCK = """
own, shown, beside, abstract = sys.argv[2:]
linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
linux.landlock_restrict({own: linux.OWN, shown: linux.READ})
"""
FOLDERS = LANDLOCK.splitlines()[1]


@pytest.fixture
def folders(tmp_path):
    """Of the program's own, to be read only, and kept from it, with a file in each; a socket."""
    needs("landlock rules")
    for name in ("own", "shown", "beside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{tmp_path}")
        listener.listen()
        yield [*(str(tmp_path / name) for name in ("own", "shown", "beside")), str(tmp_path)]


@pytest.mark.parametrize(
    ("code", "error", "since"),
    [
        ("open(f'{beside}/file').read()", "EACCES", 1),
        ("os.listdir(beside)", "EACCES", 1),
        ("open(f'{beside}/new', 'w')", "EACCES", 1),
        ("os.symlink(f'{beside}/file', f'{own}/link'); open(f'{own}/link').read()", "EACCES", 1),
        ("open(f'{shown}/file', 'a')", "EACCES", 1),
        ("open(f'{shown}/new', 'w')", "EACCES", 1),
        ("os.unlink(f'{shown}/file')", "EACCES", 1),
        ("os.mkdir(f'{shown}/new')", "EACCES", 1),
        ("os.rename(f'{own}/file', f'{shown}/moved')", "EACCES", 1),
        ("os.truncate(f'{shown}/file', 0)", "EACCES", 3),
        ("socket.socket().bind(('127.0.0.1', 0))", "EACCES", 4),
        ("os.kill(os.getppid(), 0)", "EPERM", 6),
        ("socket.socket(socket.AF_UNIX).connect(chr(0) + abstract)", "EPERM", 6),
    ],
)
def test_landlock_alone_refuses(folders, code, error, since):
    if landlock_abi() < since:
        pytest.skip(f"version {since} of Landlock refuses this; here is {landlock_abi()}")
    restored = {path: path.read_bytes() for path in Path(folders[3]).glob("*/file")}
    assert attempted(code, LANDLOCK, *folders) == error
    assert {path: path.read_bytes() for path in Path(folders[3]).glob("*/file")} == restored
    (Path(folders[0]) / "link").unlink(missing_ok=True)
    assert attempted(code, FOLDERS, *folders) == "through"


@pytest.mark.parametrize(
    "code",
    [
        "open(f'{shown}/file').read(); os.listdir(shown)",
        "open(f'{own}/new', 'w').write('x'); os.rename(f'{own}/new', f'{own}/moved')",
        "os.mkdir(f'{own}/folder'); os.rmdir(f'{own}/folder'); os.unlink(f'{own}/file')",
        "socket.socket(socket.AF_UNIX).bind(f'{own}/socket')",
    ],
)
def test_landlock_lets_through_what_was_granted(folders, code):
    assert attempted(code, LANDLOCK, *folders) == "through"


# ---------------------------------------------------------------------------- rlimits


@pytest.fixture
def amounts(tmp_path):
    """A box of the level that limits amounts and nothing else."""
    needs("none")
    folder = tmp_path / "box"
    folder.mkdir(mode=0o700)
    return Box("none", LIMITS, str(folder))


def said_in(box: Box, code: str, wrapper: tuple[str, ...] = ()) -> str:
    """What a program that runs in a box of the level "none" keeps in `said`."""
    kept = f"kept = open('said', 'w')\n{code}\nkept.write(said)\nkept.close()"
    assert guarded(box, kept, wrapper=wrapper) == "exit 0"
    return Path(box.home, "said").read_text()


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (f"os.truncate(os.open('large', 66), {LIMITS.file_mb + 1 << 20})", "EFBIG"),
        (f"[os.open('/dev/null', 0) for _ in range({LIMITS.open_files})]", "EMFILE"),
        ("bytearray(400 << 20)", "ENOMEM"),
        ("call('mlock', (ctypes.c_char * 4096)(), ctypes.c_size_t(4096))", "EPERM"),
        (
            "queue = call('mq_open', b'/lecture-vae-test', 0o102, 0o600, None)\n"
            "os.close(queue); call('mq_unlink', b'/lecture-vae-test')",
            "EMFILE",
        ),
    ],
)
def test_an_rlimit_alone_refuses(amounts, tmp_path, code, error):
    here = f"import os; os.chdir({str(tmp_path)!r})"
    assert attempted(code, here) == "through"
    assert said_in(amounts, f"{ATTEMPT}\nsaid = attempt({code!r})") == error


def test_every_rlimit_is_set_and_cannot_be_raised(amounts):
    code = (
        "import json, resource\n"
        "names = [name for name in dir(resource) if name.startswith('RLIMIT_')]\n"
        "said = json.dumps({name: resource.getrlimit(getattr(resource, name)) for name in names})"
    )
    found = json.loads(said_in(amounts, code))
    exact = {
        "CPU": LIMITS.cpu_s, "FSIZE": LIMITS.file_mb << 20, "NOFILE": LIMITS.open_files,
        "CORE": 0, "MSGQUEUE": 0, "MEMLOCK": 0,
    }  # fmt: skip
    for name, amount in exact.items():
        assert found[f"RLIMIT_{name}"] == [amount, amount]
    # Beside what this process and this user have already.
    for name, least in (("DATA", LIMITS.memory_mb << 20), ("NPROC", LIMITS.processes)):
        soft, hard = found[f"RLIMIT_{name}"]
        assert soft == hard != resource.RLIM_INFINITY
        assert soft >= least


def test_the_rlimit_of_cpu_time_alone_ends_a_loop(amounts):
    assert guarded(replace(amounts, limits=replace(LIMITS, cpu_s=1)), "while 1: pass") == "signal 9"


# ---------------------------------------------------------------------------- mounts

# As the root of a user namespace, who may write wherever a mount lets him.
BUILT = (
    ATTEMPT
    + """
import json
(secret,) = sys.argv[1:]
places, tmp = tree.visible_paths([]), "/tmp"
tree.build(0, 4, [])
with open('/proc/self/mountinfo') as file:
    mounts = {words[4]: words[5].split(',') for words in map(str.split, file)}
tries = {
    "the root": "open('/new', 'w')",
    "etc": "open('/etc/new', 'w')",
    "dev": "open('/dev/new', 'w')",
    "tmp": f"open({tmp + '/new'!r}, 'w')",
    "secret": f"open({secret!r})",
    "disk": f"open({tmp + '/large'!r}, 'wb').write(bytes(5 << 20))",
    "memory": f"open('/dev/shm/large', 'wb').write(bytes({tree.SHM_MB + 1} << 20))",
    "files": f"for n in range(1_000): open({tmp + '/'!r} + str(n), 'w').close()",
}
told = {name: attempt(code) for name, code in tries.items()}
told["places"] = {
    place: attempt(f"open({place + '/new'!r}, 'w'); os.unlink({place + '/new'!r})")
    for place in places if os.path.isdir(place)
}
told["listed"] = os.listdir('/')
told["writable"] = [place for place, options in mounts.items() if 'ro' not in options]
told["set-uid"] = [place for place in mounts if 'nosuid' not in mounts[place]]
print(json.dumps(told))
"""
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """What attempts get behind mounts alone."""
    needs("proc")
    folder = tmp_path_factory.mktemp("mounts")
    (folder / "secret").write_text("right answers")
    (line,) = printed(BUILT, str(folder / "secret"), wrapper=UNSHARE)
    return json.loads(line)


def test_mounts_alone_are_read_only(built):
    found = {name: built[name] for name in ("the root", "etc", "dev")}
    assert found == dict.fromkeys(found, "EROFS")
    assert built["places"] == dict.fromkeys(built["places"], "EROFS")
    package = str(Path(tree.__file__).parents[1])
    assert package in built["places"]
    devices = {f"/dev/{name}" for name in tree.DEVICES}
    assert set(built["writable"]) == {"/tmp", "/dev/shm", "/proc", *devices}


def test_mounts_alone_leave_room_to_write(built):
    assert built["tmp"] == "through"


def test_mounts_alone_hide_the_rest_of_the_machine(built):
    assert built["secret"] == "ENOENT"
    others = {"boot", "home", "mnt", "opt", "run", "srv", "sys", "var"}
    ways = {Path(place).parts[1] for place in built["places"]}  # Python may lie in /opt or /home
    assert not set(built["listed"]) & (others - ways)
    assert {"boot", "mnt", "srv", "sys"}.isdisjoint(ways)


def test_mounts_alone_bound_what_files_hold(built):
    assert built["disk"] == built["memory"] == built["files"] == "ENOSPC"


# ---------------------------------------------------------------------------- user


# Everything but the change of user; what root imported from private folders stays imported.
USER_ONLY = """
os.setgroups([0])
nothing = lambda *_: None
confine._check_access = nothing
linux.landlock_restrict = linux.drop_bounding_set = linux.drop_capabilities = nothing
seccomp.forbid = nothing
confine._rlimits = lambda *_: {}
"""
WITHOUT_THE_USER = USER_ONLY + "os.setgroups = os.setresgid = os.setresuid = nothing\n"


@pytest.mark.parametrize(
    "code",
    [
        "open(secret).read()",
        "open(f'{folder}/new', 'w')",
        "os.kill(grader, 0)",
        "os.setresuid(0, 0, 0)",
        "os.setgroups([0])",
        "os.chroot('/')",
    ],
)
def test_the_change_of_user_alone_refuses(code):
    if not IS_ROOT:
        pytest.skip("only root can give a box a user of its own")
    needs("none")
    folder = Path(tempfile.mkdtemp(prefix="lv-test-"))
    try:
        folder.chmod(0o755)  # where any user may look
        (folder / "secret").touch()
        (folder / "secret").chmod(0o640)  # the group of root must not help either
        (folder / "box").mkdir(mode=0o700)
        box = Box("landlock", LIMITS, str(folder / "box"))
        program = (
            f"import os\nsecret, folder = {str(folder / 'secret')!r}, {str(folder)!r}\n"
            "grader = os.getppid()\n"
            f"try:\n    {code}\nexcept PermissionError:\n    os._exit(7)\nos._exit(8)"
        )
        assert guarded(box, program, WITHOUT_THE_USER) == "exit 8"
        assert guarded(box, program, USER_ONLY) == "exit 7"
    finally:
        shutil.rmtree(folder)


# ---------------------------------------------------------------------------- capabilities

NAME = "import socket; socket.sethostname(socket.gethostname())"  # in a namespace of its own


def test_dropped_capabilities_are_gone():
    needs("namespaces")
    assert attempted(NAME, wrapper=INNER_ROOT) == "through"
    assert attempted(NAME, "linux.drop_capabilities()", wrapper=INNER_ROOT) == "EPERM"


def test_no_program_brings_a_dropped_capability_back():
    needs("namespaces")
    # A program that root starts gets what the bounding set allows.
    code = f"if subprocess.run([sys.executable, '-c', {NAME!r}], stderr=-3).returncode: "
    code += "raise PermissionError(errno.EPERM, 'refused')"
    held = "linux.drop_capabilities()"
    assert attempted(code, held, wrapper=INNER_ROOT) == "through"
    dropped = "linux.drop_bounding_set()\nlinux.drop_capabilities()"
    assert attempted(code, dropped, wrapper=INNER_ROOT) == "EPERM"


def test_even_the_weakest_box_holds_no_capabilities(amounts):
    needs("namespaces")
    code = (
        "lines = open('/proc/self/status').read().splitlines()\n"
        "said = ' '.join(line.split()[1] for line in lines if line.startswith('Cap'))"
    )
    assert set(said_in(amounts, code, INNER_ROOT).replace(" ", "")) == {"0"}
