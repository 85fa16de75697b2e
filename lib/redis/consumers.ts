/**
 * Whose an entry is says what it waits for. An instance has a consumer of its own name for what it handles, and two
 * more; what instances that died or left have not settled belongs to consumers that no instance is.
 */

/** Behind an instance's name: failed events that wait for their next delivery. */
export const WAITING = '~wait';
/** Behind an instance's name: the entry that runs alone. */
export const ALONE = '~alone';

/** Entries that any instance may take. */
export const ORPHANS = '~';
/** Entries to be run alone: they may have killed the instances that handled them. */
export const ORPHANS_ALONE = '~alone';
/** Entries that ran alone when their instance died. */
export const SUSPECTS = '~suspect';
/** Failed events that wait for their next delivery. */
export const ORPHANS_WAITING = '~wait';

/**
 * The idle time that a waiting entry has when it is due, in ms. It is moved to its consumer with as much less as it has
 * to wait, so that whoever takes it over knows what is left, whatever the backoff was. XCLAIM takes any time since
 * 1970 for an entry's delivery, but none in the future.
 */
export const DUE_AT_IDLE_MS = 1e12;
