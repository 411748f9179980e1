//! Vector registers: the zygote leaves a mark in its own, and a job process looks for it.
//!
//! The mark is in registers that compiled code does not use: those of MMX, which are the registers of the x87 unit, and
//! the last ones of SSE. The kernel copies what survives the zygote's own work into every child.

use std::arch::asm;

const MARK: u64 = 0x5a3c_96e1_0f78_b42d;
/// Larger than the register state of any processor.
const AREA_BYTES: usize = 16 << 10;

/// Room for all registers, as the processor stores them.
#[repr(C, align(64))]
struct Area([u8; AREA_BYTES]);

/// Leaves the mark in the registers.
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

/// Returns how many registers hold the mark; -1 if the processor cannot store all of them.
pub fn count_marks() -> i64 {
    if !std::arch::is_x86_feature_detected!("xsave") {
        return -1;
    }
    let mut area = Area([0; AREA_BYTES]);
    // SAFETY: the area is aligned as `xsave` requires, zeroed, and larger than all components together.
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
