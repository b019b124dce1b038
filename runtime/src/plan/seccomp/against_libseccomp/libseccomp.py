"""Compiles filters with the machine's libseccomp, called as runc calls it.

A line of JSON in: {"default", "archs", "rules": [{"name", "action", "conditions": [[index, operator, a, b]]}]}.
A line of JSON out: {"program": hex, "unknown": [names], "numbers": {arch: {name: number}}} or {"error": text}.
"""

import ctypes
import json
import os
import sys
import tempfile

ARCHS = {"x86_64": 0xC000003E, "x86": 0x40000003, "x32": 0x4000003E, "aarch64": 0xC00000B7}
OPTIMIZE = 8  # SCMP_FLTATR_CTL_OPTIMIZE
UNKNOWN = -1  # __NR_SCMP_ERROR

lib = ctypes.CDLL("libseccomp.so.2", use_errno=True)
lib.seccomp_init.restype = ctypes.c_void_p


class Condition(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


class Refused(Exception):
    pass


def check(result, what):
    if result < 0:
        raise Refused(f"{what}: {os.strerror(-result)}")


def number(arch, name):
    return lib.seccomp_syscall_resolve_name_arch(ctypes.c_uint32(ARCHS[arch]), name.encode())


def add(context, rule, conditions):
    array = (Condition * len(conditions))(*(Condition(*condition) for condition in conditions))
    call = lib.seccomp_syscall_resolve_name(rule["name"].encode())
    result = lib.seccomp_rule_add_array(context, ctypes.c_uint32(rule["action"]), call, len(array), array)
    check(result, f"rule for {rule['name']}")


def compile(profile):
    context = ctypes.c_void_p(lib.seccomp_init(ctypes.c_uint32(profile["default"])))
    if not context:
        raise Refused("default action")
    try:
        for arch in profile["archs"]:
            if arch != "x86_64":
                check(lib.seccomp_arch_add(context, ctypes.c_uint32(ARCHS[arch])), f"add {arch}")
        if len(profile["rules"]) > 32:
            check(lib.seccomp_attr_set(context, OPTIMIZE, 2), "optimize")
        for rule in profile["rules"]:
            if rule["action"] == profile["default"] or number("x86_64", rule["name"]) == UNKNOWN:
                continue
            indices = [condition[0] for condition in rule["conditions"]]
            together = len(set(indices)) == len(indices)
            for conditions in [rule["conditions"]] if together else [[one] for one in rule["conditions"]]:
                add(context, rule, conditions)
        with tempfile.TemporaryFile() as file:
            check(lib.seccomp_export_bpf(context, file.fileno()), "export")
            file.seek(0)
            return file.read().hex()
    finally:
        lib.seccomp_release(context)


for line in sys.stdin:
    profile = json.loads(line)
    names = {rule["name"] for rule in profile["rules"]}
    answer = {
        "unknown": [name for name in names if number("x86_64", name) == UNKNOWN],
        "numbers": {arch: {name: number(arch, name) for name in names} for arch in profile["archs"]},
    }
    try:
        answer["program"] = compile(profile)
    except Refused as refused:
        answer["error"] = str(refused)
    print(json.dumps(answer), flush=True)
