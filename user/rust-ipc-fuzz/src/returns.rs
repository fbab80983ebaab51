// SPDX-License-Identifier: GPL-2.0

//! What a read was filled with.

use rust_ipc::abi::TransactionData;
use rust_ipc_oracle::wire::{RETURNS, return_len};

/// A return: its code, and its arguments.
pub(crate) struct Return<'a> {
    pub(crate) code: u32,
    pub(crate) arguments: &'a [u8],
}

impl Return<'_> {
    pub(crate) fn long(&self, at: usize) -> u64 {
        let bytes = self.arguments.get(at..at + 8).unwrap_or(&[0; 8]);
        u64::from_ne_bytes(bytes.try_into().unwrap_or_default())
    }

    fn word(&self, at: usize) -> u32 {
        let bytes = self.arguments.get(at..at + 4).unwrap_or(&[0; 4]);
        u32::from_ne_bytes(bytes.try_into().unwrap_or_default())
    }

    /// Of a message.
    pub(crate) fn message(&self) -> TransactionData {
        let mut data = TransactionData::for_handle(0);
        data.code = self.word(16);
        data.flags = self.word(20);
        data.data_size = self.long(32);
        data.offsets_size = self.long(40);
        data.buffer = self.long(48);
        data.offsets = self.long(56);
        data
    }
}

/// Takes what was read apart. An error if it is not made of whole returns.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Return<'_>>, String> {
    let mut returns = Vec::new();
    let mut rest = bytes;
    while let Some((head, after)) = rest.split_first_chunk() {
        let code = u32::from_ne_bytes(*head);
        let is_known = RETURNS.iter().any(|&(own, _)| own == code);
        let len = return_len(code);
        if !is_known || len > after.len() {
            return Err(format!("no return: {code:#x}, {} bytes left", after.len()));
        }
        let (arguments, next) = after.split_at(len);
        returns.push(Return { code, arguments });
        rest = next;
    }
    match rest.is_empty() {
        true => Ok(returns),
        false => Err(format!("{} bytes at the end of a read", rest.len())),
    }
}
