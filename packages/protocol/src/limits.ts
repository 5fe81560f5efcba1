/** Characters (= bytes, for names are ASCII) in a group name. */
export const MAX_GROUP_NAME_LENGTH = 255;

/** Bytes of UTF-8 in the reason of a close frame (RFC 6455 §5.5: 125 minus the code). */
export const MAX_CLOSE_REASON_BYTES = 123;

/** Largest command id: ids are unsigned 32-bit on the wire. */
export const MAX_COMMAND_ID = 0xffff_ffff;

/** Maximum of messages in one frame of a gateway. */
export const MAX_MESSAGES_PER_FRAME = 16;

/** Maximum of publications in one recovery or history reply. */
export const MAX_RECOVERED_PUBLICATIONS = 300;
