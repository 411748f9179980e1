//! What to do about a wall that is missing, for whoever runs the service.

/// How to have `wall`, in words for an operator; `None` where nothing can be done from outside.
#[must_use]
pub fn remedy(wall: &str) -> Option<&'static str> {
    Some(match wall {
        "landlock" => {
            "it needs Linux 5.13 or newer with `landlock` in /sys/kernel/security/lsm; where it is compiled in but not \
             listed, add it to the kernel's `lsm=` option. gVisor has none, and stands in its place: L2 is what to expect"
        }
        "namespaces" => {
            "only L4 needs it. On a host: sysctl user.max_user_namespaces above 0; on Debian also \
             kernel.unprivileged_userns_clone=1, on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0. In Docker the \
             default seccomp profile and AppArmor refuse it: --security-opt seccomp=PROFILE with unshare allowed, \
             --security-opt apparmor=unconfined. A container that refuses it is a wall of its own"
        }
        "memory_deny_write_execute" => {
            "it needs Linux 6.3 or newer; seccomp keeps the same promise alone"
        }
        "speculation_control" => {
            "no level needs it. The kernel decides: `spec_store_bypass_disable=prctl` and `spectre_v2_user=prctl` (the \
             defaults of most machines) let a process ask for it, and a virtual machine needs a processor model that offers \
             SSBD and IBPB. Where clients do not trust each other, turn SMT off or use core scheduling as well"
        }
        "unprivileged_user" => {
            "start as a user other than root (`docker run --user 65534`), or leave CAP_SETUID, CAP_SETGID and CAP_KILL"
        }
        "no_new_privileges" => {
            "it needs Linux 3.5 or newer; in Docker add --security-opt no-new-privileges"
        }
        "seccomp" => {
            "the kernel needs CONFIG_SECCOMP_FILTER; a container's own profile must allow the call `seccomp` (Docker's \
             default does)"
        }
        "rlimits" => "mount /proc, and do not start under hard limits lower than the service's own",
        "build" => "install `sandpiper` and `sandpiper-sandbox` from one build, in one folder",
        "fork" => "raise the limit on processes: docker run --pids-limit, pids.max, ulimit -u",
        "sigkill" => "started as root, the service needs CAP_KILL to end processes of another user",
        _ => return None,
    })
}
