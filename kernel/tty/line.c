// SPDX-License-Identifier: MIT
// The line discipline (termios(3)): what happens to bytes between a terminal's driver and the
// program.
//
// Input. A ring of bytes with three positions that only count up: tail ≤ canonical ≤ head. In
// canonical mode the bytes from canonical to head are the line that is being typed and edited; a
// line end moves canonical up to head, and a bit in line_ends marks the byte. An end-of-file
// character is stored as a marked TTY_CHAR_DISABLED and not copied to the reader. Without canonical
// mode, canonical == head always.
//
//   I1  head - tail ≤ TTY_INPUT_BYTES, canonical in [tail, head].
//   I2  a line end always finds room: ordinary bytes leave one place free in canonical mode.
//   I3  canonical mode with a full ring and no whole line drops what comes (with a bell), so the
//       line can still be ended.
//
// Echo and erasing work on the cursor's column, which output processing keeps up to date; how wide
// a byte was is found by going over the edited line again from the column where it began.
#include "kernel/tty/internal.h"

#include "kernel/base/string.h"
#include <asm/signal.h>
#include <asm/ioctls.h>

#define SIGNAL_MASK_BIT(signal) (UINT64_C(1) << ((signal) - 1))

static bool has_input_flag(const struct tty *tty, tcflag_t flag)
{
    return (tty->settings.c_iflag & flag) != 0;
}

static bool has_local_flag(const struct tty *tty, tcflag_t flag)
{
    return (tty->settings.c_lflag & flag) != 0;
}

static bool is_control(const struct tty *tty, uint8_t byte, int which)
{
    return tty->settings.c_cc[which] == byte && byte != TTY_CHAR_DISABLED;
}

static uint8_t *input_at(struct tty *tty, uint32_t position)
{
    return &tty->input[position % TTY_INPUT_BYTES];
}

static bool is_line_end(const struct tty *tty, uint32_t position)
{
    uint32_t index = position % TTY_INPUT_BYTES;
    return (tty->line_ends[index / 64] >> (index % 64) & 1) != 0;
}

static void set_line_end(struct tty *tty, uint32_t position, bool value)
{
    uint32_t index = position % TTY_INPUT_BYTES;
    uint64_t bit = UINT64_C(1) << (index % 64);
    if (value)
        tty->line_ends[index / 64] |= bit;
    else
        tty->line_ends[index / 64] &= ~bit;
}

void line_init(struct tty *tty)
{
    static const uint8_t control[] = {[VINTR] = 3,
        [VQUIT] = 28,
        [VERASE] = 127,
        [VKILL] = 21,
        [VEOF] = 4,
        [VMIN] = 1,
        [VSTART] = 17,
        [VSTOP] = 19,
        [VSUSP] = 26,
        [VREPRINT] = 18,
        [VDISCARD] = 15,
        [VWERASE] = 23,
        [VLNEXT] = 22};
    tty->settings = (struct termios2){
        .c_iflag = ICRNL | IXON,
        .c_oflag = OPOST | ONLCR,
        .c_cflag = B38400 | CS8 | CREAD | HUPCL,
        .c_lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
        .c_ispeed = 38400,
        .c_ospeed = 38400,
    };
    memcpy(tty->settings.c_cc, control, sizeof(control));
}

// ---- output ----

// Where the cursor stands after `byte`.
static uint32_t column_after(uint32_t column, uint8_t byte, bool utf8)
{
    switch (byte) {
    case '\b':
        return column != 0 ? column - 1 : 0;
    case '\r':
        return 0;
    case '\t':
        return (column | 7) + 1;
    default:
        if (byte < 32 || byte == 127 || (utf8 && (byte & 0xc0) == 0x80))
            return column;
        return column + 1;
    }
}

static bool driver_write_all(struct tty *tty, const void *bytes, size_t len_bytes)
{
    if (tty->driver->write_room(tty) < len_bytes)
        return false;
    (void)tty->driver->write(tty, bytes, len_bytes);
    return true;
}

// One byte with output processing; false when the driver has no room for what it becomes.
static bool output_processed(struct tty *tty, uint8_t byte)
{
    static const uint8_t spaces[8] = {' ', ' ', ' ', ' ', ' ', ' ', ' ', ' '};
    tcflag_t flags = tty->settings.c_oflag;
    if (byte == '\n') {
        bool to_start = (flags & (ONLCR | ONLRET)) != 0;
        if (!driver_write_all(
                tty, (flags & ONLCR) != 0 ? "\r\n" : "\n", (flags & ONLCR) != 0 ? 2 : 1))
            return false;
        if (to_start)
            tty->column = tty->canonical_column = 0;
        return true;
    }
    if (byte == '\r' && (flags & ONOCR) != 0 && tty->column == 0)
        return true;
    if (byte == '\r' && (flags & OCRNL) != 0) {
        if (!driver_write_all(tty, "\n", 1))
            return false;
        if ((flags & ONLRET) != 0)
            tty->column = tty->canonical_column = 0;
        return true;
    }
    uint32_t next = column_after(tty->column, byte, has_input_flag(tty, IUTF8));
    if (byte == '\t' && (flags & TABDLY) == XTABS) {
        if (!driver_write_all(tty, spaces, next - tty->column))
            return false;
    } else {
        if ((flags & OLCUC) != 0 && byte >= 'a' && byte <= 'z')
            byte = (uint8_t)(byte - 'a' + 'A');
        if (!driver_write_all(tty, &byte, 1))
            return false;
    }
    tty->column = next;
    if (byte == '\r')
        tty->canonical_column = 0;
    return true;
}

// Does output processing leave the byte as it is, and its column effect is one?
static bool is_plain(const struct tty *tty, uint8_t byte)
{
    return byte >= 32 && byte < 127 && (tty->settings.c_oflag & OLCUC) == 0;
}

size_t line_write(struct tty *tty, const uint8_t *text, size_t len_bytes)
{
    size_t done = 0;
    assert_lock_held(&tty->lock);
    if (tty->stopped)
        return 0;
    if ((tty->settings.c_oflag & OPOST) == 0)
        return tty->driver->write(tty, text, len_bytes);
    while (done < len_bytes) {
        size_t run = 0;
        while (done + run < len_bytes && is_plain(tty, text[done + run]))
            run++;
        if (run != 0) {
            size_t taken = tty->driver->write(tty, text + done, run);
            tty->column += (uint32_t)taken;
            done += taken;
            if (taken < run)
                break;
        } else {
            if (!output_processed(tty, text[done]))
                break;
            done++;
        }
    }
    return done;
}

// ---- echo ----

// Echo is lost rather than waited for when the driver is full.
static void echo_raw(struct tty *tty, uint8_t byte)
{
    if ((tty->settings.c_oflag & OPOST) != 0)
        (void)output_processed(tty, byte);
    else
        (void)tty->driver->write(tty, &byte, 1);
}

static bool echoes_as_caret(const struct tty *tty, uint8_t byte)
{
    return has_local_flag(tty, ECHOCTL) && (byte < 32 || byte == 127) && byte != '\t' &&
           byte != '\n';
}

static void echo_byte(struct tty *tty, uint8_t byte)
{
    if (echoes_as_caret(tty, byte)) {
        echo_raw(tty, '^');
        echo_raw(tty, byte ^ 0100);
    } else {
        echo_raw(tty, byte);
    }
}

static uint32_t echo_column_after(const struct tty *tty, uint32_t column, uint8_t byte)
{
    return echoes_as_caret(tty, byte) ? column + 2
                                      : column_after(column, byte, has_input_flag(tty, IUTF8));
}

// Column after the edited line up to `end`.
static uint32_t edited_column(struct tty *tty, uint32_t end)
{
    uint32_t column = tty->canonical_column;
    for (uint32_t position = tty->canonical; position != end; position++)
        column = echo_column_after(tty, column, *input_at(tty, position));
    return column;
}

// ECHOPRT, for terminals on paper: what is erased is printed once more, between a backslash and a
// slash.
static void print_erased(struct tty *tty, uint32_t old_head)
{
    if (!tty->erasing) {
        echo_raw(tty, '\\');
        tty->erasing = true;
    }
    for (uint32_t position = tty->head; position != old_head; position++)
        echo_byte(tty, *input_at(tty, position));
}

static void finish_erasing(struct tty *tty)
{
    if (tty->erasing) {
        echo_raw(tty, '/');
        tty->erasing = false;
    }
}

// Removes the last character of the edited line, and from the screen.
static void erase_last(struct tty *tty)
{
    uint32_t old_head = tty->head;
    uint32_t before = edited_column(tty, tty->head);
    bool tab = *input_at(tty, tty->head - 1) == '\t';
    do {
        tty->head--;
    } while (has_input_flag(tty, IUTF8) && tty->head != tty->canonical &&
             (*input_at(tty, tty->head) & 0xc0) == 0x80);
    if (!has_local_flag(tty, ECHO))
        return;
    if (has_local_flag(tty, ECHOPRT)) {
        print_erased(tty, old_head);
        return;
    }
    uint32_t after = edited_column(tty, tty->head);
    for (uint32_t column = before; column > after; column--) {
        echo_raw(tty, '\b');
        if (!tab) {
            echo_raw(tty, ' ');
            echo_raw(tty, '\b');
        }
    }
}

static bool is_word_byte(uint8_t byte)
{
    return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
           (byte >= 'A' && byte <= 'Z') || byte == '_' || byte >= 0x80;
}

static void erase_word(struct tty *tty)
{
    bool seen_word = false;
    while (tty->head != tty->canonical) {
        bool word = is_word_byte(*input_at(tty, tty->head - 1));
        if (seen_word && !word)
            break;
        seen_word |= word;
        erase_last(tty);
    }
}

static void kill_line(struct tty *tty)
{
    if (has_local_flag(tty, ECHO) && !(has_local_flag(tty, ECHOK) && has_local_flag(tty, ECHOKE) &&
                                         has_local_flag(tty, ECHOE))) {
        tty->head = tty->canonical;
        finish_erasing(tty);
        echo_byte(tty, tty->settings.c_cc[VKILL]);
        if (has_local_flag(tty, ECHOK))
            echo_raw(tty, '\n');
        return;
    }
    while (tty->head != tty->canonical)
        erase_last(tty);
}

static void erase_typed(struct tty *tty, uint8_t byte)
{
    if (tty->head == tty->canonical)
        return;
    if (is_control(tty, byte, VKILL)) {
        kill_line(tty);
    } else if (is_control(tty, byte, VWERASE)) {
        erase_word(tty);
    } else if (has_local_flag(tty, ECHO) && !has_local_flag(tty, ECHOE) &&
               !has_local_flag(tty, ECHOPRT)) {
        tty->head--;
        echo_byte(tty, byte);
    } else {
        erase_last(tty);
    }
}

static void reprint(struct tty *tty)
{
    finish_erasing(tty);
    echo_byte(tty, tty->settings.c_cc[VREPRINT]);
    echo_raw(tty, '\n');
    tty->canonical_column = tty->column;
    for (uint32_t position = tty->canonical; position != tty->head; position++)
        echo_byte(tty, *input_at(tty, position));
}

// ---- input ----

static uint32_t input_used(const struct tty *tty)
{
    return tty->head - tty->tail;
}

bool line_input_has_room(const struct tty *tty)
{
    if (input_used(tty) < TTY_INPUT_BYTES - 1)
        return true;
    return has_local_flag(tty, ICANON) && tty->canonical == tty->tail; // I3: taken and dropped
}

// Stores a byte; a line end may use the last place (I2). False: no room, the byte is dropped.
static bool input_store(struct tty *tty, uint8_t byte, bool ends_line)
{
    if (input_used(tty) >= TTY_INPUT_BYTES - (ends_line ? 0 : 1)) {
        if (has_input_flag(tty, IMAXBEL))
            echo_raw(tty, '\a');
        return false;
    }
    *input_at(tty, tty->head) = byte;
    set_line_end(tty, tty->head, ends_line);
    tty->head++;
    if (ends_line || !has_local_flag(tty, ICANON))
        tty->canonical = tty->head;
    return true;
}

// An ordinary byte: echoed and stored.
static void receive_plain(struct tty *tty, uint8_t byte)
{
    if (has_local_flag(tty, ECHO)) {
        finish_erasing(tty);
        if (tty->canonical == tty->head)
            tty->canonical_column = tty->column;
        if (!has_local_flag(tty, ICANON) || input_used(tty) < TTY_INPUT_BYTES - 1)
            echo_byte(tty, byte);
    }
    if (byte == 0xff && has_input_flag(tty, PARMRK) && !has_input_flag(tty, ISTRIP) &&
        !input_store(tty, byte, false))
        return;
    (void)input_store(tty, byte, false);
}

// Signals that a byte stands for, 0 for none.
static int signal_of(const struct tty *tty, uint8_t byte)
{
    if (!has_local_flag(tty, ISIG))
        return 0;
    if (is_control(tty, byte, VINTR))
        return SIGINT;
    if (is_control(tty, byte, VQUIT))
        return SIGQUIT;
    return is_control(tty, byte, VSUSP) ? SIGTSTP : 0;
}

static void receive_signal(struct tty *tty, uint8_t byte, int signal, uint64_t *signals)
{
    *signals |= SIGNAL_MASK_BIT(signal);
    if (!has_local_flag(tty, NOFLSH)) {
        line_flush_input(tty);
        tty->driver->discard_output(tty);
    }
    line_set_stopped(tty, false);
    if (has_local_flag(tty, ECHO)) {
        finish_erasing(tty);
        echo_byte(tty, byte);
    }
}

// Flow control. True: the byte is used up.
static bool receive_flow(struct tty *tty, uint8_t byte)
{
    if (!has_input_flag(tty, IXON))
        return false;
    if (is_control(tty, byte, VSTART)) {
        line_set_stopped(tty, false);
        return true;
    }
    if (is_control(tty, byte, VSTOP)) {
        line_set_stopped(tty, true);
        return true;
    }
    return false;
}

// Canonical mode's special bytes. True: the byte is used up.
static bool receive_canonical(struct tty *tty, uint8_t byte)
{
    bool extended = has_local_flag(tty, IEXTEN);
    if (is_control(tty, byte, VERASE) || is_control(tty, byte, VKILL) ||
        (extended && is_control(tty, byte, VWERASE))) {
        erase_typed(tty, byte);
        return true;
    }
    if (extended && is_control(tty, byte, VREPRINT) && has_local_flag(tty, ECHO)) {
        reprint(tty);
        return true;
    }
    if (byte == '\n') {
        if (has_local_flag(tty, ECHO) || has_local_flag(tty, ECHONL)) {
            finish_erasing(tty);
            echo_raw(tty, '\n');
        }
        (void)input_store(tty, byte, true);
        return true;
    }
    if (is_control(tty, byte, VEOF)) {
        (void)input_store(tty, TTY_CHAR_DISABLED, true);
        return true;
    }
    if (is_control(tty, byte, VEOL) || (extended && is_control(tty, byte, VEOL2))) {
        if (has_local_flag(tty, ECHO))
            echo_byte(tty, byte);
        (void)input_store(tty, byte, true);
        return true;
    }
    return false;
}

static void receive_byte(struct tty *tty, uint8_t byte, uint64_t *signals)
{
    if (has_input_flag(tty, ISTRIP))
        byte &= 0x7f;
    if (has_input_flag(tty, IUCLC) && has_local_flag(tty, IEXTEN) && byte >= 'A' && byte <= 'Z')
        byte = (uint8_t)(byte - 'A' + 'a');
    if (tty->literal_next) {
        tty->literal_next = false;
        receive_plain(tty, byte);
        return;
    }
    if (receive_flow(tty, byte))
        return;
    int signal = signal_of(tty, byte);
    if (signal != 0) {
        receive_signal(tty, byte, signal, signals);
        return;
    }
    if (tty->stopped && has_input_flag(tty, IXON) && has_input_flag(tty, IXANY))
        line_set_stopped(tty, false);
    if (byte == '\r') {
        if (has_input_flag(tty, IGNCR))
            return;
        if (has_input_flag(tty, ICRNL))
            byte = '\n';
    } else if (byte == '\n' && has_input_flag(tty, INLCR)) {
        byte = '\r';
    }
    if (has_local_flag(tty, ICANON)) {
        if (has_local_flag(tty, IEXTEN) && is_control(tty, byte, VLNEXT)) {
            tty->literal_next = true;
            if (has_local_flag(tty, ECHO) && has_local_flag(tty, ECHOCTL)) {
                echo_raw(tty, '^');
                echo_raw(tty, '\b');
            }
            return;
        }
        if (receive_canonical(tty, byte))
            return;
    }
    receive_plain(tty, byte);
}

size_t line_receive(struct tty *tty, const uint8_t *bytes, size_t len_bytes, uint64_t *signals)
{
    size_t done = 0;
    assert_lock_held(&tty->lock);
    while (done < len_bytes) {
        if (!line_input_has_room(tty)) {
            tty->lost_room = true;
            break;
        }
        receive_byte(tty, bytes[done++], signals);
    }
    return done;
}

// ---- reading ----

bool line_input_ready(const struct tty *tty)
{
    return tty->canonical != tty->tail;
}

size_t line_input_count(const struct tty *tty)
{
    size_t count = tty->canonical - tty->tail;
    for (uint32_t position = tty->tail; position != tty->canonical; position++) {
        if (is_line_end(tty, position) &&
            tty->input[position % TTY_INPUT_BYTES] == TTY_CHAR_DISABLED)
            count--; // an end of file is no byte
    }
    return count;
}

size_t line_take(struct tty *tty, uint8_t *buffer, size_t size, bool *end_of_line)
{
    size_t done = 0;
    *end_of_line = false;
    while (!*end_of_line && tty->tail != tty->canonical) {
        uint8_t byte = *input_at(tty, tty->tail);
        bool ends = has_local_flag(tty, ICANON) && is_line_end(tty, tty->tail);
        bool end_of_file = ends && byte == TTY_CHAR_DISABLED;
        if (!end_of_file && done == size)
            break;
        if (!end_of_file)
            buffer[done++] = byte;
        tty->tail++;
        *end_of_line = ends;
    }
    return done;
}

void line_flush_input(struct tty *tty)
{
    tty->tail = tty->canonical = tty->head;
    tty->literal_next = false;
    tty->erasing = false;
    if (tty->packet)
        tty->packet_status |= TIOCPKT_FLUSHREAD;
}

void line_set_stopped(struct tty *tty, bool stopped)
{
    if (tty->packet && tty->stopped != stopped) {
        tty->packet_status &= (uint8_t)~(TIOCPKT_STOP | TIOCPKT_START);
        tty->packet_status |= stopped ? TIOCPKT_STOP : TIOCPKT_START;
    }
    tty->stopped = stopped;
}

// Tells a master in packet mode whether ^S and ^Q stop and start output now: IXON with the usual
// characters.
static void report_flow_keys(struct tty *tty, const struct termios2 *old)
{
    bool was = (old->c_iflag & IXON) != 0 && old->c_cc[VSTOP] == 023 && old->c_cc[VSTART] == 021;
    bool is = has_input_flag(tty, IXON) && tty->settings.c_cc[VSTOP] == 023 &&
              tty->settings.c_cc[VSTART] == 021;
    if (!tty->packet || was == is)
        return;
    tty->packet_status &= (uint8_t)~(TIOCPKT_DOSTOP | TIOCPKT_NOSTOP);
    tty->packet_status |= is ? TIOCPKT_DOSTOP : TIOCPKT_NOSTOP;
}

void line_settings_changed(struct tty *tty, const struct termios2 *old)
{
    bool was_canonical = (old->c_lflag & ICANON) != 0;
    bool is_canonical = has_local_flag(tty, ICANON);
    if (was_canonical != is_canonical) {
        // What was being edited becomes readable at once; lines that were typed in raw mode are one
        // line.
        tty->canonical = tty->head;
        tty->literal_next = false;
        if (is_canonical && tty->head != tty->tail)
            set_line_end(tty, tty->head - 1, true);
    }
    report_flow_keys(tty, old);
    if (!has_input_flag(tty, IXON))
        line_set_stopped(tty, false);
}
