/* SPDX-License-Identifier: MIT */
/*
 * Model of sleeping and waking in sched.c: S1 to S4 and S6 of its theory, on two CPUs.
 *
 * One thread T takes TOKENS tokens; it sleeps while there is none. Each waker adds one token and wakes T. A waker may find
 * T's run queue locked for as long as it likes (its holder's vCPU does not run) and then leaves T on the wake
 * list of that CPU. It may put T on the other CPU instead. A CPU may be stopped between any two steps: that is
 * the interleaving of the model.
 *
 * Checked: a waker that queues T finds its context saved (S2); T is never on two queues (S3); and no execution ends
 * before T has taken all tokens (S1): an end state in which T sleeps is invalid, because only the idle CPUs may
 * rest at its end.
 *
 * The model is sequentially consistent. Where the code relies on the order of a store and a later load, it has a full fence
 * between them, so that no more behaviours exist.
 */

#define TOKENS 3
#define WAKERS 3
#define CPUS   2
#define NOBODY 255

#define RUNNING  0
#define SLEEPING 1

#define NONE    0
#define QUEUED  1
#define TRANSIT 2

byte condition;            /* tokens that are there */
byte taken;                /* tokens that T took */
byte state = RUNNING;      /* thread->state */
byte queue_state = QUEUED; /* under the lock of T's queue */
byte cpu_of_t = 0;         /* thread->cpu */
bool saved = true;         /* T's context is in memory: any CPU may run it */
byte runs_on = NOBODY;     /* CPU that executes T */
byte lock[CPUS] = NOBODY;  /* who holds the run queue's lock: 0.. CPUs, 10.. wakers */
bool need_resched[CPUS];
bool on_wake_list[CPUS];   /* T is on this CPU's wake list */
bool wake_pending;

inline lock_queue(which, who)
{
    atomic { lock[which] == NOBODY -> lock[which] = who }
}

inline unlock_queue(which)
{
    lock[which] = NOBODY
}

/* Queues T on a CPU; the caller holds the lock of T's queue and has found NONE and RUNNING. Drops the lock. */
inline enqueue(source, caller, goal)
{
    assert(saved);              /* S2 */
    assert(runs_on == NOBODY);  /* S3 */
    if
    :: goal = 0
    :: goal = 1
    fi;
    if
    :: goal == source ->
        queue_state = QUEUED;
        need_resched[source] = true;
        unlock_queue(source)
    :: else ->
        queue_state = TRANSIT;
        cpu_of_t = goal;
        unlock_queue(source);
        lock_queue(goal, caller);
        assert(queue_state == TRANSIT);
        queue_state = QUEUED;
        need_resched[goal] = true;
        unlock_queue(goal)
    fi
}

/* The second half of a wake-up: sched_activate(). */
inline activate(caller, source, goal)
{
    do
    :: source = cpu_of_t;
       if
       :: atomic { lock[source] == NOBODY -> lock[source] = caller };
          if
          :: cpu_of_t != source -> unlock_queue(source) /* it was carried away: again */
          :: else ->
             if
             :: queue_state == NONE && state == RUNNING -> enqueue(source, caller, goal)
             :: else -> unlock_queue(source)
             fi;
             break
          fi
       :: atomic { lock[source] != NOBODY && source != caller ->
              /* S4: it takes too long */
              if
              :: wake_pending -> skip
              :: else -> wake_pending = true; on_wake_list[source] = true
              fi };
          need_resched[source] = true;
          break
       fi
    od
}

proctype Waker(byte self)
{
    byte from, target;
    bool won;
    condition++;
    /* fence; compare and exchange */
    atomic {
        won = (state == SLEEPING);
        if
        :: won -> state = RUNNING
        :: else -> skip
        fi
    };
    if
    :: won -> activate(self, from, target)
    :: else -> skip
    fi
}

/* T's program counter: where it goes on when a CPU runs it. */
mtype = { LOOK, PREPARED, RECHECK, BLOCK, DONE };
mtype at = LOOK;

proctype Cpu(byte self)
{
    byte from, target;
    bool blocks;
    /* The idle loop: waits for need_resched or the wake list (S5, S6). */
end_idle:
    (need_resched[self] || on_wake_list[self]);
    blocks = false;
schedule:
    need_resched[self] = false;
take:
    lock_queue(self, self);
    if
    :: on_wake_list[self] -> /* S6 */
        unlock_queue(self);
        atomic { on_wake_list[self] -> on_wake_list[self] = false };
        wake_pending = false;
        activate(self, from, target);
        need_resched[self] = false;
        goto take
    :: else -> skip
    fi;
    if
    :: runs_on == self ->
        if
        :: blocks && state != RUNNING ->
            queue_state = NONE; /* its registers are still ours */
            saved = true;       /* the switch */
            runs_on = NOBODY;
            unlock_queue(self);
            goto end_idle
        :: else ->
            unlock_queue(self);
            goto thread
        fi
    :: runs_on != self && queue_state == QUEUED && cpu_of_t == self ->
        assert(saved);
        assert(runs_on == NOBODY);
        runs_on = self;
        saved = false;
        unlock_queue(self)
    :: else ->
        unlock_queue(self);
        goto end_idle
    fi;
thread:
    /* T, on this CPU. */
    do
    :: need_resched[self] -> blocks = false; goto schedule /* preempted: state does not matter */
    :: at == LOOK ->
        if
        :: atomic { condition > 0 -> condition--; taken++ };
            if
            :: taken == TOKENS -> at = DONE
            :: else -> skip
            fi
        :: condition == 0 -> at = PREPARED
        fi
    :: at == PREPARED -> state = SLEEPING; at = RECHECK /* and a full fence */
    :: at == RECHECK ->
        if
        :: condition > 0 -> state = RUNNING; at = LOOK
        :: condition == 0 -> at = BLOCK
        fi
    :: at == BLOCK ->
        if
        :: state == RUNNING -> at = LOOK /* woken already, or on the way back from the sleep */
        :: else -> blocks = true; goto schedule
        fi
    :: at == DONE -> goto finished
    od;
finished:
    skip
}

init {
    byte i;
    atomic {
        need_resched[0] = true; /* T is new, on the first CPU's queue */
        run Cpu(0);
        run Cpu(1);
        i = 0;
        do
        :: i < WAKERS -> run Waker(10 + i); i++
        :: else -> break
        od
    }
    /* T takes all tokens: this process can only end, as it must, when it has. */
    taken == TOKENS
}
