//! Stands in for the C compiler's walk over the stack, in the released program alone.
//!
//! A panic ends this program: nothing is unwound. What is left is printing where a panic came from when RUST_BACKTRACE is
//! set, and the released program has no names to print. As the link-time optimiser sees here that no frame is ever
//! visited, the library's reader of debugging information goes as well: 210 kB. The tables that tell how to walk
//! the stack are left out by `release.ld`. A panic still says its message, file and line.

/// Calls with this frame, then the next: here with none.
#[expect(unsafe_code, reason = "only the name is meant, by which the standard library calls it")]
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace() -> i32 {
    const END_OF_STACK: i32 = 5;
    END_OF_STACK
}

macro_rules! never_called {
    ($($name:ident)*) => { $(
        #[expect(unsafe_code, reason = "only the name is meant, so that the linker need not look for another")]
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> ! {
            std::process::abort()
        }
    )* };
}

never_called! {
    _Unwind_ForcedUnwind _Unwind_GetCFA _Unwind_GetDataRelBase _Unwind_GetIP _Unwind_GetIPInfo
    _Unwind_GetLanguageSpecificData _Unwind_GetRegionStart _Unwind_GetTextRelBase _Unwind_RaiseException
    _Unwind_Resume _Unwind_SetGR _Unwind_SetIP __gcc_personality_v0
}
