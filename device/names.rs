// SPDX-License-Identifier: GPL-2.0

//! The `devices` parameter: which devices there are.
//!
//! `module!` knows no string parameters, so this one is declared the way `module_param()` does it in
//! C: an entry in the `__param` section that the module loader finds and sets before the module's
//! initialisation, and one in `.modinfo` for `modinfo`.

use core::cell::UnsafeCell;

use kernel::{bindings, module_param::KernelParam, prelude::*, str::CStr};

/// The devices if the parameter is not given.
const DEFAULT: &CStr = c"rust_ipc";

/// Where the loader puts the value.
struct Value(UnsafeCell<*mut c_char>);

// SAFETY: The loader writes it before the module's initialisation and frees the string after its
// exit; in between it does not change, as the parameter cannot be set in sysfs.
unsafe impl Sync for Value {}

static VALUE: Value = Value(UnsafeCell::new(core::ptr::null_mut()));

#[used(compiler)]
#[link_section = "__param"]
static PARAM: KernelParam = KernelParam::new(bindings::kernel_param {
    name: kernel::str::as_char_ptr_in_const_context(if cfg!(MODULE) {
        c"devices"
    } else {
        c"rust_ipc.devices"
    }),
    #[cfg(MODULE)]
    mod_: kernel::module::this_module::<crate::LocalModule>().as_ptr(),
    #[cfg(not(MODULE))]
    mod_: core::ptr::null_mut(),
    ops: &raw const bindings::param_ops_charp,
    perm: 0,
    level: -1,
    flags: 0,
    __bindgen_anon_1: bindings::kernel_param__bindgen_ty_1 {
        arg: VALUE.0.get().cast(),
    },
});

/// Puts a string, with its terminating 0, into `.modinfo`.
macro_rules! modinfo {
    ($name:ident, $text:literal) => {
        #[used(compiler)]
        #[link_section = ".modinfo"]
        static $name: [u8; $text.len()] = *$text;
    };
}

#[cfg(MODULE)]
modinfo!(TYPE, b"parmtype=devices:charp\0");
#[cfg(MODULE)]
modinfo!(
    DESCRIPTION,
    b"parm=devices:Names of the devices, separated by commas; each is a context of its own\0"
);

/// The value of the parameter.
///
/// Called while the module is initialised.
pub(crate) fn value() -> &'static CStr {
    // SAFETY: See `Value`: the loader is done with it.
    let value = unsafe { *VALUE.0.get() };
    if value.is_null() {
        return DEFAULT;
    }
    // SAFETY: The loader has set it to a copy of the argument, a C string that it keeps until the
    // module is gone.
    unsafe { CStr::from_char_ptr(value) }
}
