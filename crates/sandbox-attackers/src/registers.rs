//! Vector registers: a mark that the zygote leaves in its own, and a look for it from a job process.
//!
//! The mark lies where compiled code does not come by: in the registers of MMX, which are those of the x87 unit, and in the
//! last ones of SSE. What of the mark survives the zygote's own work is the kernel's to copy into every child.

use std::arch::asm;

const MARK: u64 = 0x5a3c_96e1_0f78_b42d;
/// Longer than any processor's registers.
const AREA_BYTES: usize = 16 << 10;

/// Room for all registers, as the processor stores them.
#[repr(C, align(64))]
struct Area([u8; AREA_BYTES]);

/// Leaves the mark.
pub fn mark() {
    // SAFETY: no compiled code of this program keeps anything in these registers across a call.
    unsafe {
        asm!(
            "movq mm3, {mark}",
            "movq mm7, {mark}",
            "movq xmm13, {mark}",
            "movq xmm15, {mark}",
            mark = in(reg) MARK,
            out("xmm13") _, out("xmm15") _,
            options(nomem, nostack),
        );
    }
}

/// How often the mark stands in the registers; -1 where the processor has no way to store them all.
pub fn marked() -> i64 {
    if !std::arch::is_x86_feature_detected!("xsave") {
        return -1;
    }
    let mut area = Area([0; AREA_BYTES]);
    // SAFETY: the area is aligned as `xsave` asks, zeroed, and longer than all parts together.
    unsafe {
        asm!(
            "xsave64 [{area}]",
            area = in(reg) area.0.as_mut_ptr(),
            in("eax") u32::MAX, in("edx") u32::MAX,
            options(nostack),
        );
    }
    let marks = area
        .0
        .windows(8)
        .filter(|bytes| **bytes == MARK.to_le_bytes());
    i64::try_from(marks.count()).unwrap_or(i64::MAX)
}
