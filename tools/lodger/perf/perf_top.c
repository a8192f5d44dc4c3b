// SPDX-License-Identifier: MIT
//
// lodger perf top: what a guest does now, on a terminal (ncurses) or as text.
//
// Samples are counted by function and by task; with each refresh old counts lose an eighth, as in
// perf top, so that the picture follows what happens. vCPUs and input/output come from the guest's
// directory and counters. Waiting for a vCPU is measured between a task's being preempted and its
// running again (records of context switches).
#include "tools/lodger/perf/perf_commands.h"

#include "tools/lodger/perf/collector.h"
#include "tools/lodger/perf/counters.h"
#include "tools/lodger/perf/top_view.h"

#include <curses.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND  1000000000ull
#define POLL_NS 50000000ull

static const char help[] =
    "usage: ./lodger perf top [OPTIONS] [GUEST]\n"
    "\n"
    "Shows live what a guest does: functions, tasks, vCPUs (with stolen time), waiting for vCPUs,\n"
    "input and output.\n"
    "\n" PERF_OPTIONS_HELP "  -d, --delay SECONDS  between refreshes (default 2)\n"
    "  --stdio              print text instead\n"
    "  --iterations N       end after so many refreshes\n"
    "\n"
    "Keys: q quit, Tab or 1 to 4 another view, up/down/page scroll, d delay, z forget what was, K "
    "hide\n"
    "the kernel, U hide programs, f filter by name, P pause, h help.\n";

struct top {
    struct perf_options options;
    struct top_view view;
    uint64_t delay_ns, iterations;
    bool stdio;
};

static void parse(struct top *top, int argc, char **argv)
{
    static const struct option options[] = {
        PERF_OPTIONS_LONG,
        {"delay", required_argument, NULL, 'd'},
        {"stdio", no_argument, NULL, 's'},
        {"iterations", required_argument, NULL, 'i'},
        {"help", no_argument, NULL, 'h'},
        {},
    };
    perf_options_init(&top->options);
    // The one that is run, not its callers.
    top->options.kernel_frames = top->options.user_frames = 0;
    top->options.switches = true;
    top->delay_ns = 2 * SECOND;
    int code;
    while ((code = getopt_long(argc, argv, PERF_OPTIONS_SHORT "d:h", options, NULL)) != -1) {
        if (code == 'd') {
            top->delay_ns = perf_parse_seconds("--delay", optarg);
        } else if (code == 's') {
            top->stdio = true;
        } else if (code == 'i') {
            if (!parse_number(optarg, 1, 1000000, &top->iterations)) {
                die("--iterations %s: expected a number", optarg);
            }
        } else if (code == 'h') {
            fputs(help, stdout);
            exit(0);
        } else if (!perf_options_take(&top->options, code, optarg)) {
            die("see ./lodger perf top --help");
        }
    }
    for (int i = optind; i < argc; i++) {
        strings_add(&top->options.guests, argv[i]);
    }
    if (top->options.guests.count > 1) {
        die("one guest at a time (./lodger perf top --help)");
    }
}

// The collector's sink.
static void take(void *context, struct collector *collector, unsigned cpu, uint64_t time_ns,
    const struct perf_record *record)
{
    top_view_take(context, collector, cpu, time_ns, record);
}

static void print_text(const struct top *top)
{
    static const enum top_page pages[] = {TOP_FUNCTIONS, TOP_TASKS, TOP_CPUS, TOP_IO};
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        struct strings lines = {};
        top_view_lines(&top->view, pages[i], 20, &lines);
        for (size_t j = 0; j < lines.count; j++) {
            puts(lines.items[j]);
        }
        puts("");
        strings_free(&lines);
    }
    fflush(stdout);
}

static void draw(const struct top *top, enum top_page page, unsigned scroll, bool paused)
{
    struct strings lines = {};
    top_view_lines(&top->view, page, 1000, &lines);
    erase();
    attron(A_REVERSE);
    char *title = xasprintf("lodger perf top: %s  %llu samples, %.0f a second  delay %.1f s%s%s",
        top->view.guest, (unsigned long long)top->view.samples, top->view.samples_per_s,
        (double)top->delay_ns / 1e9, paused ? "  PAUSED" : "", "  (h: help, q: quit)");
    mvprintw(0, 0, "%-*.*s", COLS, COLS, title);
    free(title);
    attroff(A_REVERSE);
    for (size_t i = 0; i < lines.count; i++) {
        // The first line of a page is its heading.
        size_t row = i == 0 ? 1 : i + 1 - scroll;
        if ((i == 0 || i > scroll) && row < (size_t)LINES) {
            if (i == 0) {
                attron(A_BOLD);
            }
            mvprintw((int)row, 0, "%.*s", COLS, lines.items[i]);
            attroff(A_BOLD);
        }
    }
    strings_free(&lines);
    refresh();
}

// Asks for a text in the last line; the caller frees it.
static char *ask(const char *question)
{
    char answer[128] = "";
    timeout(-1);
    echo();
    mvprintw(LINES - 1, 0, "%s", question);
    clrtoeol();
    if (getnstr(answer, sizeof(answer) - 1) != OK) {
        answer[0] = '\0';
    }
    noecho();
    timeout(0);
    return xstrdup(answer);
}

static void show_help(void)
{
    erase();
    mvprintw(0, 0, "%s\nAny key goes back.", help);
    refresh();
    timeout(-1);
    getch();
    timeout(0);
}

struct screen {
    enum top_page page;
    unsigned scroll;
    bool paused, quit;
};

static void handle_key(struct top *top, struct screen *screen, int key)
{
    switch (key) {
    case 'q':
        screen->quit = true;
        break;
    case '\t':
        screen->page = (screen->page + 1) % TOP_PAGES;
        screen->scroll = 0;
        break;
    case '1':
    case '2':
    case '3':
    case '4':
        screen->page = (enum top_page)(key - '1');
        screen->scroll = 0;
        break;
    case KEY_DOWN:
        screen->scroll++;
        break;
    case KEY_UP:
        screen->scroll -= screen->scroll > 0 ? 1 : 0;
        break;
    case KEY_NPAGE:
        screen->scroll += (unsigned)LINES - 3;
        break;
    case KEY_PPAGE:
        screen->scroll -=
            screen->scroll > (unsigned)LINES - 3 ? (unsigned)LINES - 3 : screen->scroll;
        break;
    case 'z':
        top_view_zero(&top->view);
        break;
    case 'K':
        top->view.hide_kernel = !top->view.hide_kernel;
        break;
    case 'U':
        top->view.hide_user = !top->view.hide_user;
        break;
    case 'P':
        screen->paused = !screen->paused;
        break;
    case 'f':
        free(top->view.filter);
        top->view.filter = ask("Functions and tasks with: ");
        break;
    case 'd': {
        char *text = ask("Seconds between refreshes: ");
        double seconds = strtod(text, NULL);
        top->delay_ns =
            seconds >= 0.1 && seconds <= 3600 ? (uint64_t)(seconds * 1e9) : top->delay_ns;
        free(text);
        break;
    }
    case 'h':
    case '?':
        show_help();
        break;
    default:
        break;
    }
}

static void start_screen(void)
{
    if (initscr() == NULL) {
        die("this is no terminal (--stdio prints text)");
    }
    cbreak();
    noecho();
    keypad(stdscr, TRUE);
    curs_set(0);
    timeout(0);
}

// Rounds and refreshes until the end. Returns the error that ended it, 0: the user did.
static int run(struct top *top, struct collector *collector)
{
    struct screen screen = {};
    uint64_t start_ns = time_now_ns(), refresh_ns = start_ns + top->delay_ns;
    uint64_t done = 0;
    while (!perf_interrupted && !screen.quit) {
        int error = collector_round(collector, take, &top->view);
        if (error != 0) {
            return error;
        }
        uint64_t now_ns = time_now_ns();
        bool redraw = false;
        if (now_ns >= refresh_ns) {
            refresh_ns = now_ns + top->delay_ns;
            if (!screen.paused) {
                top_view_refresh(&top->view, collector, now_ns);
                redraw = true;
                done++;
            }
            if (redraw && top->stdio) {
                print_text(top);
            }
        }
        for (int key; !top->stdio && (key = getch()) != ERR; redraw = true) {
            handle_key(top, &screen, key);
        }
        if (redraw && !top->stdio) {
            draw(top, screen.page, screen.scroll, screen.paused);
        }
        bool over = top->options.duration_ns != 0 && now_ns - start_ns > top->options.duration_ns;
        if (over || (top->iterations != 0 && done >= top->iterations)) {
            return 0;
        }
        perf_sleep_until(now_ns + POLL_NS);
    }
    return 0;
}

int perf_top(int argc, char **argv)
{
    static struct top top;
    parse(&top, argc, argv);
    perf_catch_signals();
    size_t count;
    struct collector *collector = perf_start_collectors(&top.options, &count)[0];
    top_view_init(&top.view, collector);
    if (!top.stdio) {
        start_screen();
    }
    int error = run(&top, collector);
    if (!top.stdio) {
        endwin();
    }
    if (error != 0) {
        warn("%s has ended", collector->guest.name);
    }
    return error == 0 ? 0 : EXIT_OWN_ERROR;
}
