// SPDX-License-Identifier: MIT
// 9P sessions: calls, tags, fids, and the beginning of it all.
//
// A call is one allocation: the message, the answer, and where its data lies. The tag makes the
// answer known; there are 64, and who finds none waits for one. Tags and the calls' memory come
// back only when the transport has said that the request is over.
//
// The end of a call comes in any context. A sleeper is woken as block/file/direct.c does it: `call`
// belongs to the sleeper from the moment that is_done is set, and the thread itself stays, under
// RCU, while preemption is off.
#include "kernel/fs/9p/client.h"

#include "kernel/base/assert.h"
#include "kernel/base/string.h"
#include "kernel/core/errno.h"
#include "kernel/core/log.h"
#include "kernel/core/thread.h"
#include "kernel/fs/9p/call.h"
#include "mm/slab.h"

#define FID_MAX IDA_MAX

// ---- calls ----

static int try_tag(struct p9_client *client)
{
    int tag = -1;
    const uint64_t flags = spin_lock_irqsave(&client->tag_lock);
    if (client->tags != UINT64_MAX) {
        tag = __builtin_ctzl(~client->tags);
        client->tags |= BIT(tag);
    }
    spin_unlock_irqrestore(&client->tag_lock, flags);
    return tag;
}

static uint16_t take_tag(struct p9_client *client)
{
    int tag;
    (void)wait_event_state(
        &client->tag_queue, (tag = try_tag(client)) >= 0, THREAD_UNINTERRUPTIBLE, true, UINT64_MAX);
    return (uint16_t)tag;
}

struct p9_call *p9_call_create(struct p9_client *client, enum p9_type type, size_t message_size,
    size_t reply_size, uint32_t piece_count)
{
    const size_t message_room = ALIGN_UP(message_size + P9_HEADER_BYTES, 16);
    const size_t reply_room = ALIGN_UP(reply_size, 16);
    assert(reply_size >= P9_DATA_HEADER_BYTES && piece_count <= P9_PIECES_MAX);
    struct p9_call *call = kmalloc(
        sizeof(*call) + message_room + reply_room + piece_count * sizeof(struct p9_piece), 0);
    if (call == NULL)
        return NULL;
    *call = (struct p9_call){.client = client, .type = type};
    call->reply = call->memory + message_room;
    call->pieces = piece_count == 0 ? NULL : (struct p9_piece *)(call->reply + reply_room);
    call->request.message = call->memory;
    call->request.reply = call->reply;
    call->request.reply_size = (uint32_t)reply_size;
    call->tag = type == P9_TVERSION ? P9_NO_TAG : take_tag(client);
    p9_message_begin(&call->writer, call->memory, (uint32_t)message_room, type, call->tag);
    return call;
}

void p9_call_free(struct p9_call *call)
{
    struct p9_client *client = call->client;
    if (call->tag != P9_NO_TAG) {
        const uint64_t flags = spin_lock_irqsave(&client->tag_lock);
        assert(client->tags & BIT(call->tag));
        client->tags &= ~BIT(call->tag);
        spin_unlock_irqrestore(&client->tag_lock, flags);
        wait_wake_one(&client->tag_queue);
    }
    kfree(call);
}

static void request_done(struct p9_request *request)
{
    struct p9_call *call = container_of(request, struct p9_call, request);
    struct thread *waiter = call->waiter;
    if (waiter == NULL) {
        call->finished(call);
        return;
    }
    preempt_disable();
    __atomic_store_n(&call->is_done, true, __ATOMIC_RELEASE);
    (void)sched_wake(waiter, THREAD_ANY_SLEEP);
    preempt_enable();
}

static int submit(struct p9_call *call)
{
    struct p9_request *request = &call->request;
    const uint32_t sent = request->pieces_are_reply ? 0 : call->data_bytes;
    const int error = p9_message_end(&call->writer, sent);
    if (error != 0)
        return error;
    request->message_bytes = call->writer.len;
    request->done = request_done;
    assert(request->message_bytes + sent <= call->client->message_max);
    return call->client->transport->submit(call->client->transport, request);
}

int p9_call_begin(struct p9_call *call)
{
    assert(call->finished != NULL && call->waiter == NULL);
    return submit(call);
}

int p9_call_run(struct p9_call *call, struct p9_reader *reader)
{
    call->waiter = thread_current();
    const int error = submit(call);
    if (error != 0)
        return error;
    while (!__atomic_load_n(&call->is_done, __ATOMIC_ACQUIRE)) {
        thread_prepare_sleep(THREAD_UNINTERRUPTIBLE);
        if (__atomic_load_n(&call->is_done, __ATOMIC_ACQUIRE))
            break;
        (void)sched_block(UINT64_MAX);
    }
    thread_cancel_sleep(); // the waker may have found it awake
    return p9_call_answer(call, reader);
}

int p9_call_answer(struct p9_call *call, struct p9_reader *reader)
{
    const struct p9_request *request = &call->request;
    if (request->error != 0)
        return request->error;
    return p9_reply_begin(
        reader, call->reply, request->reply_size, request->reply_bytes, call->type, call->tag);
}

// ---- fids ----

static int new_fid(struct p9_client *client, uint32_t *fid)
{
    mutex_lock(&client->fid_lock);
    const int error = ida_alloc(&client->fids, 0, FID_MAX, fid);
    mutex_unlock(&client->fid_lock);
    return error == -ENOSPC ? -ENFILE : error;
}

static void free_fid(struct p9_client *client, uint32_t fid)
{
    mutex_lock(&client->fid_lock);
    ida_free(&client->fids, fid);
    mutex_unlock(&client->fid_lock);
}

// Tattach fid[4] afid[4] uname[s] aname[s] n_uname[4]; Rattach qid
int p9_attach(struct p9_client *client, uint32_t uid, uint32_t *fid)
{
    struct p9_reader reader;
    struct p9_qid qid = {};
    int error = new_fid(client, fid);
    if (error != 0)
        return error;
    struct p9_call *call = p9_call_create(client, P9_TATTACH, 32, 32, 0);
    error = call != NULL ? 0 : -ENOMEM;
    if (error == 0) {
        p9_put_u32(&call->writer, *fid);
        p9_put_u32(&call->writer, P9_NO_FID);
        p9_put_text(&call->writer, "", 0);
        p9_put_text(&call->writer, "", 0);
        p9_put_u32(&call->writer, uid);
        error = p9_call_run(call, &reader);
        if (error == 0) {
            p9_get_qid(&reader, &qid);
            error = p9_reader_end(&reader);
        }
        p9_call_free(call);
    }
    if (error != 0)
        free_fid(client, *fid);
    return error;
}

// Twalk fid[4] newfid[4] count[2] name[s]...; Rwalk count[2] qid...
int p9_walk(struct p9_client *client, uint32_t from, const char *name, size_t len, uint32_t *fid,
    struct p9_qid *qid)
{
    struct p9_reader reader;
    int error = new_fid(client, fid);
    if (error != 0)
        return error;
    struct p9_call *call = p9_call_create(client, P9_TWALK, 16 + len, 32, 0);
    error = call != NULL ? 0 : -ENOMEM;
    if (error == 0) {
        const uint16_t wanted = name != NULL;
        struct p9_qid found = {};
        p9_put_u32(&call->writer, from);
        p9_put_u32(&call->writer, *fid);
        p9_put_u16(&call->writer, wanted);
        if (name != NULL)
            p9_put_text(&call->writer, name, len);
        error = p9_call_run(call, &reader);
        // Fewer qids than names would mean that the fid does not exist.
        if (error == 0 && p9_get_u16(&reader) != wanted)
            error = -EIO;
        if (error == 0 && name != NULL)
            p9_get_qid(&reader, &found);
        if (error == 0)
            error = p9_reader_end(&reader);
        if (error == 0 && qid != NULL)
            *qid = found;
        p9_call_free(call);
    }
    if (error != 0)
        free_fid(client, *fid);
    return error;
}

// Tclunk fid[4]; Rclunk
void p9_clunk(struct p9_client *client, uint32_t fid)
{
    struct p9_reader reader;
    struct p9_call *call = p9_call_create(client, P9_TCLUNK, 4, P9_DATA_HEADER_BYTES, 0);
    if (call == NULL)
        return; // the number stays taken, here and there: it must not stand for something else
    p9_put_u32(&call->writer, fid);
    const int error = p9_call_run(call, &reader);
    p9_call_free(call);
    if (error != 0 && error != -EIO)
        log_debug("9p: clunk of fid %u: error %d", fid, -error);
    free_fid(client, fid);
}

// ---- sessions ----

uint32_t p9_client_data_max(const struct p9_client *client)
{
    const uint32_t by_message = client->message_max - P9_WRITE_HEADER_BYTES;
    const uint32_t by_pieces = (P9_PIECES_MAX - 1) * PAGE_SIZE; // the first may begin in a page
    return MIN(ALIGN_DOWN(by_message, PAGE_SIZE), by_pieces);
}

// Tversion msize[4] version[s]; Rversion msize[4] version[s]
static int negotiate(struct p9_client *client)
{
    struct p9_reader reader;
    const char *version;
    struct p9_call *call = p9_call_create(client, P9_TVERSION, 32, 64, 0);
    if (call == NULL)
        return -ENOMEM;
    p9_put_u32(&call->writer, client->message_max);
    p9_put_text(&call->writer, P9_VERSION, strlen(P9_VERSION));
    int error = p9_call_run(call, &reader);
    if (error == 0) {
        const uint32_t message_max = p9_get_u32(&reader);
        const uint16_t len = p9_get_text(&reader, &version);
        error = p9_reader_end(&reader);
        if (error == 0 && !string_equals_bytes(P9_VERSION, version, len))
            error = -EPROTONOSUPPORT;
        else if (error == 0 && (message_max > client->message_max || message_max < P9_MESSAGE_MIN))
            error = -EIO;
        if (error == 0)
            client->message_max = message_max;
    }
    p9_call_free(call);
    return error;
}

int p9_client_start(struct p9_client *client, const char *tag, uint32_t message_max_bytes)
{
    assert(message_max_bytes >= P9_MESSAGE_MIN);
    *client = (struct p9_client){.message_max = message_max_bytes};
    mutex_init(&client->fid_lock);
    spin_lock_init(&client->tag_lock);
    wait_queue_init(&client->tag_queue);
    int error = p9_transport_take(tag, &client->transport);
    if (error != 0)
        return error;
    error = negotiate(client);
    if (error != 0)
        p9_transport_give_back(client->transport);
    return error;
}

void p9_client_stop(struct p9_client *client)
{
    assert(client->tags == 0);
    ida_destroy(&client->fids);
    p9_transport_give_back(client->transport);
}
