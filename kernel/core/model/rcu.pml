/* SPDX-License-Identifier: MIT */
/*
 * Model of grace periods in rcu.c: I1 to I5 of its theory, with two CPUs that read and two updaters.
 *
 * Each updater owns a pointer. It unlinks an object, waits for a grace period as rcu_call() and the timer do it, and frees
 * the object. Each CPU reads both pointers, switches threads, and idles, in any order; it may be stopped between any two
 * steps for as long as it likes (its vCPU is preempted), which is the interleaving of the model.
 *
 * Checked: no reader sees a freed object; the number of answers never gets below zero; and every execution ends, that is,
 * no answer is lost (a grace period that never ends leaves its updater waiting: an invalid end state).
 *
 * The model is sequentially consistent. Where the code relies on the order of a store and a later load it has a full fence
 * between them.
 */

#define CPUS     2
#define UPDATERS 2
#define STEPS    2 /* what a CPU does before it idles for good */

byte started, completed, unanswered;
bool locked;
bool owes[CPUS];
bool idle_even[CPUS];
bool linked[UPDATERS] = true; /* the old object can still be found */
bool freed[UPDATERS];

/* rcu_answer(). Whoever brings it to 0 ends the grace period. */
inline answer(count)
{
    atomic {
        assert(unanswered >= count);
        unanswered = unanswered - count;
        if
        :: unanswered == 0 -> last = true
        :: else -> last = false
        fi
    };
    if
    :: last -> completed = started
    :: else
    fi
}

/* rcu_take_debt(): one of those that try gets it. */
inline take_debt(cpu, got)
{
    atomic { got = owes[cpu]; owes[cpu] = false }
}

/* rcu_start_and_unlock(), with the lock held. */
inline start_and_unlock()
{
    excused = 1; /* I5 */
    unanswered = 1;
    started++; /* I1 */
    cpu = 0;
    do
    :: cpu < CPUS ->
       unanswered++;
       owes[cpu] = true;
       /* full fence: I2 */
       if
       :: idle_even[cpu] ->
          take_debt(cpu, got);
          if
          :: got -> excused++
          :: else
          fi
       :: else
       fi;
       cpu++
    :: else -> break
    od;
    locked = false;
    answer(excused)
}

proctype Updater(byte self)
{
    byte wanted, cpu, excused;
    bool got, last;
    linked[self] = false;
    /* full fence: I1 */
    wanted = started + 1;
    do
    :: completed >= wanted -> break
    :: completed < wanted ->
       /* the timer */
       atomic { !locked -> locked = true };
       if
       :: started == completed && started < wanted -> start_and_unlock()
       :: else -> locked = false; (started == completed || completed >= wanted)
       fi
    od;
    freed[self] = true
}

proctype Cpu(byte self)
{
    byte step, which;
    bool got, last, seen;
    do
    :: step == STEPS -> break
    :: step < STEPS ->
       step++;
       if
       :: which = 0
       :: which = 1
       fi;
       if
       :: /* a reader */
          seen = linked[which];
          if
          :: seen -> assert(!freed[which])
          :: else
          fi
       :: /* rcu_note_context_switch() */
          if
          :: owes[self] ->
             take_debt(self, got);
             if
             :: got -> answer(1)
             :: else
             fi
          :: else
          fi
       :: /* rcu_idle_enter(), and out again */
          idle_even[self] = true;
          /* full fence: I2 */
          if
          :: owes[self] ->
             take_debt(self, got);
             if
             :: got -> answer(1)
             :: else
             fi
          :: else
          fi;
          idle_even[self] = false
          /* full fence: I3 */
       fi
    od;
    idle_even[self] = true;
    if
    :: owes[self] ->
       take_debt(self, got);
       if
       :: got -> answer(1)
       :: else
       fi
    :: else
    fi
}

init {
    atomic {
        run Updater(0);
        run Updater(1);
        run Cpu(0);
        run Cpu(1)
    }
}
