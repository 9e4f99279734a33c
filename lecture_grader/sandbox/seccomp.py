"""A seccomp filter: denies system calls that no exercise needs and that exploits often use.

It is defence in depth, because the box is safe without it. On an architecture whose system calls
are not listed here it is left out, and the description of the sandbox does not name it.
"""

import ctypes
import errno
import platform
import struct

from lecture_grader.sandbox.linux import PR_SET_SECCOMP, prctl

__all__ = ["available", "forbid"]

# The numbers on x86-64 and on AArch64, which agree from 424 on.
_DENIED = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "bpf": (321, 280), "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "unshare": (272, 97), "setns": (308, 268), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "reboot": (169, 142),
    "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "quotactl": (179, 60),
    "personality": (135, 92), "kcmp": (312, 272), "syslog": (103, 116),
    # Memory that belongs to no process, which the supervisor would miss.
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194),
    "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "pidfd_getfd": (438, 438), "mount_setattr": (442, 442), "quotactl_fd": (443, 443),
}  # fmt: skip
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_CLONE, _CLONE3, _SOCKET = (56, 220), 435, (41, 198)
_NEW_NAMESPACES = 0x7E020080  # every CLONE_NEW... flag
_AF_UNIX = 1

# BPF opcodes: LD+W+ABS, JMP+JEQ+K, JMP+JGE+K, JMP+JSET+K, RET+K.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data


def available() -> bool:
    """Whether the system call numbers of this architecture are listed here."""
    return platform.machine() in _MACHINES


def forbid() -> None:
    """Install the filter for this process and its descendants; it cannot be removed.

    Denied system calls fail with EPERM. Only Unix sockets can be made, and new processes cannot
    get new namespaces. ``clone3``, whose flags a filter cannot read, fails with ENOSYS, so that
    the C library uses ``clone``. ``no_new_privs`` must be set.

    Raises:
        OSError: If the kernel refuses the filter.
    """
    column, architecture = _MACHINES[platform.machine()]
    refuse, missing = _ERROR | errno.EPERM, _ERROR | errno.ENOSYS
    no_network = _ERROR | errno.EAFNOSUPPORT
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),  # 32-bit system calls have other numbers
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, 0x40000000),  # x32 system calls on x86-64
        (_RETURN, 0, 0, refuse),
        (_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, missing),
    ]
    for numbers in _DENIED.values():
        program += [(_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, refuse)]
    program += [
        # clone with a new namespace, and socket with a family other than AF_UNIX. Jumps in BPF
        # go forward only and are relative to the next instruction.
        (_EQUAL, 0, 4, _CLONE[column]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_ANY_BIT, 0, 1, _NEW_NAMESPACES),
        (_RETURN, 0, 0, refuse),
        (_RETURN, 0, 0, _ALLOW),
        (_EQUAL, 0, 3, _SOCKET[column]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_EQUAL, 1, 0, _AF_UNIX),
        (_RETURN, 0, 0, no_network),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    head = ctypes.create_string_buffer(
        struct.pack("HxxxxxxQ", len(program), ctypes.addressof(buffer))
    )
    prctl(PR_SET_SECCOMP, 2, ctypes.addressof(head), what="seccomp")
