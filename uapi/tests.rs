// SPDX-License-Identifier: GPL-2.0

//! Tests of the wire format: on the host, and as a KUnit suite.
//!
//! The model of the command stream is the table of `binder.h`: each command is a 32-bit code whose
//! bits 16 to 29 say how many bytes follow.

/// The tests' functions; `kunit_tests` and `cfg(test)` only differ in what calls them.
#[cfg_attr(rust_ipc_kunit, kernel::prelude::kunit_tests(rust_ipc_uapi))]
mod wire {
    use super::super::*;

    /// Every command: its code, and how many bytes follow.
    const COMMANDS: [(u32, usize); 20] = [
        (0x4040_6300, 64),
        (0x4040_6301, 64),
        (0x4008_6303, 8),
        (0x4004_6304, 4),
        (0x4004_6305, 4),
        (0x4004_6306, 4),
        (0x4004_6307, 4),
        (0x4010_6308, 16),
        (0x4010_6309, 16),
        (0x0000_630b, 0),
        (0x0000_630c, 0),
        (0x0000_630d, 0),
        (0x400c_630e, 12),
        (0x400c_630f, 12),
        (0x4008_6310, 8),
        (0x4048_6311, 72),
        (0x4048_6312, 72),
        (0x400c_6313, 12),
        (0x400c_6314, 12),
        (0x4008_6315, 8),
    ];

    /// A small generator of numbers that look random (xorshift).
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }
    }

    /// A command's code, then bytes that count up.
    fn stream(code: u32) -> [u8; MAX_COMMAND_LEN] {
        let mut bytes = [0; MAX_COMMAND_LEN];
        for (byte, value) in bytes.iter_mut().zip(0u8..) {
            *byte = value;
        }
        u32s_into(&mut bytes, [code]);
        bytes
    }

    #[test]
    fn each_command_takes_as_many_bytes_as_its_code_says() {
        for (code, payload_len) in COMMANDS {
            let bytes = stream(code);
            let len = 4 + payload_len;
            assert!(matches!(Command::decode(&bytes), Ok((_, taken)) if taken == len));
            assert!(matches!(Command::decode(&bytes[..len]), Ok((_, taken)) if taken == len));
            for short in 0..len {
                assert_eq!(
                    Command::decode(&bytes[..short]).err(),
                    Some(DecodeError::Truncated)
                );
            }
        }
    }

    #[test]
    fn what_is_no_command_is_unknown() {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        for round in 0..20_000u32 {
            // Random codes, and ones that differ from a command in a single bit.
            let code = if round % 2 == 0 {
                numbers.next() as u32
            } else {
                let (code, _) = COMMANDS[numbers.next() as usize % COMMANDS.len()];
                code ^ (1 << (numbers.next() % 32))
            };
            let is_command = COMMANDS.iter().any(|(known, _)| *known == code);
            let decoded = Command::decode(&stream(code));
            assert_eq!(decoded.is_ok(), is_command);
            if !is_command {
                assert_eq!(decoded.err(), Some(DecodeError::Unknown));
            }
        }
    }

    #[test]
    fn fields_are_where_the_header_has_them() {
        let mut bytes = stream(bc::TRANSACTION_SG);
        let words = [
            7,                      // target
            0x1111,                 // cookie
            (0x33u64 << 32) | 0x22, // flags, code
            (0x55u64 << 32) | 0x44, // sender's euid, pid
            0x66,
            0x70,
            0x8888_8888_8888,
            0x9999_9999_9999,
            0xa0,
        ];
        u64s_into(&mut bytes[4..], words);
        let expected = TransactionData {
            handle: 7,
            code: 0x22,
            flags: 0x33,
            data_size: 0x66,
            offsets_size: 0x70,
            data_address: 0x8888_8888_8888,
            offsets_address: 0x9999_9999_9999,
            buffers_size: 0xa0,
        };
        assert_eq!(
            Command::decode(&bytes),
            Ok((Command::Transaction(expected), 76))
        );
        u32s_into(&mut bytes, [bc::REPLY]);
        let plain = TransactionData {
            buffers_size: 0,
            ..expected
        };
        assert_eq!(Command::decode(&bytes), Ok((Command::Reply(plain), 68)));
    }

    #[test]
    fn returns_stop_where_the_buffer_ends() {
        let mut returns = Returns::new();
        let mut items = 0;
        while returns.has_room() {
            returns.push_delivery(
                br::TRANSACTION_SEC_CTX,
                &Delivery {
                    security_context: Some(1),
                    ..Delivery::default()
                },
            );
            items += 1;
        }
        assert_eq!(items, 1);
        assert_eq!(returns.len(), Returns::MAX_ITEM_LEN);
        assert_eq!(returns.as_slice().len(), returns.len());
        returns.clear();
        assert_eq!(returns.len(), 0);
        returns.push_code(br::NOOP);
        returns.push_node(br::ACQUIRE, 2, 3);
        let mut expected = [0; 24];
        u32s_into(&mut expected, [br::NOOP, br::ACQUIRE, 2, 0, 3, 0]);
        assert_eq!(returns.as_slice(), &expected[..]);
    }

    #[test]
    fn a_delivery_is_laid_out_as_the_header_says() {
        let delivery = Delivery {
            ptr: 1,
            cookie: 2,
            code: 3,
            flags: 4,
            sender_pid: -5,
            sender_euid: 6,
            data_size: 7,
            offsets_size: 8,
            data_address: 9,
            offsets_address: 10,
            security_context: None,
        };
        let mut returns = Returns::new();
        returns.push_delivery(br::REPLY, &delivery);
        assert_eq!(returns.len(), 4 + 64);
        let words: [u64; 8] = u64s_from(&returns.as_slice()[4..]);
        let euid_pid = (6u64 << 32) | u64::from((-5i32) as u32);
        assert_eq!(words, [1, 2, (4 << 32) | 3, euid_pid, 7, 8, 9, 10]);
    }

    #[test]
    fn write_read_goes_there_and_back() {
        let mut numbers = Numbers(42);
        for _ in 0..1000 {
            let request = WriteRead {
                write_size: numbers.next(),
                write_consumed: numbers.next(),
                write_buffer: numbers.next(),
                read_size: numbers.next(),
                read_consumed: numbers.next(),
                read_buffer: numbers.next(),
            };
            assert_eq!(WriteRead::from_bytes(&request.to_bytes()), request);
        }
    }

    #[test]
    fn objects_are_laid_out_as_the_header_says() {
        let mut bytes = [0; FlatObject::SIZE + BufferObject::TAIL];
        // Type, flags; buffer, length, parent, parent_offset.
        u32s_into(&mut bytes, [object::PTR, 1]);
        u64s_into(&mut bytes[8..], [0x11, 0x22, 0x33, 0x44]);
        let (head, tail) = bytes.split_at(FlatObject::SIZE);
        let mut head = FlatObject::from_bytes(head.first_chunk().unwrap());
        let buffer = BufferObject {
            address: 0x11,
            len: 0x22,
            pointer: Some(Place {
                parent: 0x33,
                offset: 0x44,
            }),
        };
        let parts = |head: &FlatObject| BufferObject::from_parts(head, tail.first_chunk().unwrap());
        assert_eq!(head.kind, 0x7074_2a85);
        assert_eq!(parts(&head), buffer);
        // No other flag says that there is a parent.
        head.flags = !1;
        let pointer = None;
        assert_eq!(parts(&head), BufferObject { pointer, ..buffer });

        // Type, padding; num_fds, parent, parent_offset.
        head.kind = object::FDA;
        assert_eq!(head.to_bytes()[..4], 0x6664_6185_u32.to_ne_bytes());
        let array = FdArrayObject::from_parts(&head, tail.first_chunk().unwrap());
        assert_eq!(
            array,
            FdArrayObject {
                count: 0x11,
                place: Place {
                    parent: 0x22,
                    offset: 0x33,
                },
            }
        );
    }
}
