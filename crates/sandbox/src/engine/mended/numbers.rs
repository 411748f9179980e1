//! `Math.cbrt` and `Math.hypot`, whose results in the C library are off by a unit or more.
#![allow(unsafe_code)] // functions in the engine's own form: scripts call them in loops

use super::hidden;
use crate::engine::realm::Scene;
use rquickjs::{FromJs, Function, Object, Value, qjs};
use std::ffi::{CStr, c_int};

/// Most sides of a length that are kept on the stack.
const FEW_SIDES: usize = 8;

pub(super) fn install<'js>(scene: &Scene<'js>) -> rquickjs::Result<()> {
    let math: Object<'js> = scene.ctx.globals().get("Math")?;
    let generic: qjs::JSCFunction = Some(hypot);
    // SAFETY: the engine reads the function as the member `f_f` of its union of function pointers, as the kind says.
    let cbrt: qjs::JSCFunction = unsafe { qjs::JSCFunctionType { f_f: Some(cbrt) }.generic };
    let functions = [
        (c"cbrt", cbrt, 1, qjs::JSCFunctionEnum_JS_CFUNC_f_f),
        (c"hypot", generic, 2, qjs::JSCFunctionEnum_JS_CFUNC_generic),
    ];
    for (name, function, length, kind) in functions {
        let function = made(scene, name, function, length, kind)?;
        math.prop(name.to_str().unwrap_or_default(), hidden(function))?;
    }
    Ok(())
}

fn made<'js>(
    scene: &Scene<'js>,
    name: &CStr,
    function: qjs::JSCFunction,
    length: c_int,
    kind: qjs::JSCFunctionEnum,
) -> rquickjs::Result<Function<'js>> {
    let context = scene.ctx.as_raw().as_ptr();
    // SAFETY: the context lives, the engine copies the name, and `function` has the form that `kind` names.
    let raw = unsafe { qjs::JS_NewCFunction2(context, function, name.as_ptr(), length, kind, 0) };
    // SAFETY: the value is new, and its one reference passes to the wrapper.
    let value = unsafe { Value::from_raw(scene.ctx.clone(), raw) };
    Function::from_js(&scene.ctx, value)
}

unsafe extern "C" fn cbrt(value: f64) -> f64 {
    cube_root(value)
}

/// Returns `Math.hypot` of the arguments, which are all converted before the first is used.
unsafe extern "C" fn hypot(
    context: *mut qjs::JSContext,
    _: qjs::JSValue,
    count: c_int,
    arguments: *mut qjs::JSValue,
) -> qjs::JSValue {
    let count = usize::try_from(count).unwrap_or_default();
    // Nearly all calls have a few arguments, and need no memory.
    let (mut few, mut many) = ([0.0; FEW_SIDES], Vec::new());
    let sides = match few.get_mut(..count) {
        Some(few) => few,
        None => {
            many.resize(count, 0.0);
            &mut many
        }
    };
    for (index, side) in sides.iter_mut().enumerate() {
        // SAFETY: the engine passes `count` values, which live during the call, and a live context.
        let failed = unsafe { qjs::JS_ToFloat64(context, side, *arguments.add(index)) } != 0;
        if failed {
            return qjs::JS_EXCEPTION;
        }
    }
    qjs::JS_NewFloat64(length_of(sides))
}

/// Returns the cube root, at most half a unit in the last place and a little off: exact for cubes.
fn cube_root(value: f64) -> f64 {
    // Factors whose cubes and cube roots are powers of two keep the products below away from the ends of the range.
    const UP: f64 = (1_u64 << 57) as f64;
    let magnitude = value.abs();
    if magnitude == 0.0 || !magnitude.is_finite() {
        return value;
    }
    if magnitude < 1e-200 {
        return refined_cube_root(value * UP * UP * UP) / UP;
    }
    if magnitude > 1e200 {
        return refined_cube_root(value / UP / UP / UP) * UP;
    }
    refined_cube_root(value)
}

/// Corrects the C library's root by one step of Newton's method, with the exact error of its cube.
fn refined_cube_root(value: f64) -> f64 {
    let root = value.cbrt();
    let square = root * root;
    let square_error = root.mul_add(root, -square);
    let cube = square * root;
    let cube_error = square.mul_add(root, -cube) + square_error * root;
    root - ((cube - value) + cube_error) / (3.0 * square)
}

/// Returns the square root of the sum of the squares.
fn length_of(sides: &[f64]) -> f64 {
    if sides.iter().any(|side| side.is_infinite()) {
        return f64::INFINITY;
    }
    if sides.iter().any(|side| side.is_nan()) {
        return f64::NAN;
    }
    let greatest = sides
        .iter()
        .fold(0.0_f64, |most, side| most.max(side.abs()));
    if greatest == 0.0 || sides.len() < 2 {
        return greatest;
    }
    // Scaled by a power of two, no square overflows and none that matters vanishes.
    let scale = power_of_two_near(greatest);
    let (mut sum, mut error) = (0.0_f64, 0.0_f64);
    for side in sides {
        let side = side / scale;
        let square = side * side;
        error += side.mul_add(side, -square);
        let total = sum + square;
        let taken = total - sum;
        error += (sum - (total - taken)) + (square - taken);
        sum = total;
    }
    let root = (sum + error).sqrt();
    // One step of Newton's method with the exact error of the root's square.
    let square = root * root;
    let left = (sum - square) - root.mul_add(root, -square) + error;
    (root + left / (2.0 * root)) * scale
}

/// Returns the power of two with the exponent of a positive number, within the range whose reciprocal is finite.
fn power_of_two_near(number: f64) -> f64 {
    const EXPONENT: u64 = 0x7ff0_0000_0000_0000;
    f64::from_bits(number.to_bits() & EXPONENT).max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_every_cube_is_exact() {
        for whole in 1..20_000_i32 {
            let root = f64::from(whole);
            for root in [root, -root, root / 1024.0] {
                assert_eq!(cube_root(root * root * root), root);
            }
        }
    }

    #[test]
    fn roots_at_the_ends_of_the_range_are_close() {
        for value in [
            f64::MAX,
            1e300,
            1e-300,
            f64::MIN_POSITIVE,
            5e-324,
            1e201,
            9e199,
        ] {
            let root = cube_root(value);
            let back = (root / value.cbrt() - 1.0).abs();
            assert!(back < 1e-15, "{value}: {root}");
        }
        assert!(cube_root(f64::NAN).is_nan());
        assert_eq!(cube_root(f64::NEG_INFINITY), f64::NEG_INFINITY);
        assert!(cube_root(-0.0).is_sign_negative());
    }

    #[test]
    fn the_length_of_whole_triangles_is_exact() {
        assert_eq!(length_of(&[3.0, 4.0]), 5.0);
        assert_eq!(length_of(&[2.0, 3.0, 6.0]), 7.0);
        let great = 2_f64.powi(600);
        assert_eq!(length_of(&[3.0 * great, 4.0 * great]), 5.0 * great);
        assert_eq!(length_of(&[1e-320; 4]), 2e-320);
        assert_eq!(length_of(&[f64::MAX, f64::MAX]), f64::INFINITY);
        assert_eq!(length_of(&[f64::NAN, f64::INFINITY]), f64::INFINITY);
        assert_eq!(length_of(&[-7.0]), 7.0);
        assert_eq!(length_of(&[]), 0.0);
        for (leg, other, length) in [(5.0, 12.0, 13.0), (8.0, 15.0, 17.0), (20.0, 21.0, 29.0)] {
            for factor in [1.0, 1e8, 0.5, 3.0] {
                assert_eq!(length_of(&[leg * factor, other * factor]), length * factor);
            }
        }
        assert_eq!(length_of(&[1.0; 3]), 3_f64.sqrt());
        assert_eq!(length_of(&[1.0; 5]), 5_f64.sqrt());
    }
}
