"""Mutants of the decode scorer of e4m3 keys on Hopper: bytes of its copies, its ring, widened queries and keys."""

from fuzz.canaries.kernels.mutant import mutants_of

_mutant = mutants_of("ops/hopper/decode_e4m3.py", "decode", "gpu")
_ring = mutants_of("ops/nvidia/decode_ring.py", "decode", "gpu")
_widen = mutants_of("ops/hopper/widen.py", "decode", "gpu")

MUTANTS = [
    _ring(
        "decode_e4m3_sm90_queries_not_counted",
        "The bytes of queries that come with a page are not expected.",
        "PAGE + QUERIES",
        "PAGE",
        ("Score", "Best", "Runs", "RepeatDeterminism"),
        defect="D46",
    ),
    _ring(
        "decode_e4m3_sm90_bytes_of_16_bits_counted",
        "A page of bytes counts as there when twice its bytes are.",
        "        mbarrier.expect(ready.index(slot), PAGE, pred=is_there)",
        "        mbarrier.expect(ready.index(slot), S * D * 2, pred=is_there)",
        ("Score", "Best", "Runs"),
    ),
    _ring(
        "decode_e4m3_sm90_half_a_page_counted",
        "A page counts as there when its first half is.",
        "        mbarrier.expect(ready.index(slot), PAGE, pred=is_there)",
        "        mbarrier.expect(ready.index(slot), PAGE // 2, pred=is_there)",
        ("Score", "Best", "Runs", "RepeatDeterminism"),
        defect="D46",
    ),
    _mutant(
        "decode_e4m3_sm90_page_not_waited_for",
        "A page is widened before it is there.",
        "        mbarrier.wait(ready.index(slot), phase)\n",
        "",
        ("Score", "Best", "Runs", "RepeatDeterminism"),
        defect="D46",
    ),
    _mutant(
        "decode_e4m3_sm90_phase_flipped_every_page",
        "The phase of a slot's barrier turns with every page, not with every round.",
        "gl.where(slot == STAGES - 1, phase ^ 1, phase)",
        "phase ^ 1",
        ("Score", "Best", "Runs", "RepeatDeterminism"),
        defect="D46",
    ),
    _mutant(
        "decode_e4m3_sm90_no_barrier_before_the_refill",
        "A page's place takes the next page while other warps still load it.",
        "        barrier()  # every warp has the page in registers\n",
        "",
        ("Score", "Best", "Runs", "RepeatDeterminism"),
        defect="D46",
    ),
    _mutant(
        "decode_e4m3_sm90_queries_not_fenced",
        "A product reads widened queries that the threads' stores may not have reached.",
        "    fence_async_shared()  # the matrix unit reads them by another way than threads write them\n",
        "",
        ("Score", "Best", "Runs", "RepeatDeterminism"),
        defect="D46",
    ),
    _mutant(
        "decode_e4m3_sm90_queries_of_the_request_before",
        "The next request's queries are not widened.",
        "                is_widened = False\n",
        "",
        ("Score", "Best"),
    ),
    _mutant(
        "decode_e4m3_sm90_queries_of_slot_0",
        "The queries that lie in slot 0 are widened, whichever request they belong to.",
        "q_shared.index(q_slot).reshape([ROWS, D]), wide",
        "q_shared.index(0).reshape([ROWS, D]), wide",
        ("Score", "Best", "RepeatDeterminism"),
    ),
    _mutant(
        "decode_e4m3_sm90_queries_as_they_lie",
        "Keys are multiplied in the order of D in which threads hold them, and queries in that of memory.",
        "as_multiplied(q.load(words).to(wide_queries.dtype))",
        "q.load(words).to(wide_queries.dtype)",
        ("Score", "Best"),
    ),
    _mutant(
        "decode_e4m3_sm90_first_half_twice",
        "The keys of a page's second half are never scored.",
        "page_keys.slice(HALF, HALF)",
        "page_keys.slice(0, HALF)",
        ("Score", "Best"),
    ),
    _mutant(
        "decode_e4m3_sm90_halves_masked_alike",
        "The keys of a block's second half are masked like those of its first.",
        "key_pos + HALF < sees",
        "key_pos < sees",
        ("Score", "Best", "PoisonBlind"),
        defect="D11",
    ),
    _mutant(
        "decode_e4m3_sm90_queries_asked_for_once",
        "The queries of the next request are never fetched.",
        "is_new = req != fetched",
        "is_new = fetched < 0",
        ("Score", "Best", "RepeatDeterminism"),
    ),
    _mutant(
        "decode_e4m3_sm90_page_fetched_twice",
        "A page's place takes the page that was looked up for it again.",
        "        ahead += 1\n",
        "        ahead += (slot == 0).to(gl.int32)\n",
        ("Score", "Best", "Runs"),
    ),
    _widen(
        "decode_e4m3_sm90_nan_code_as_480",
        "The NaN codes of e4m3 are taken for numbers.",
        "    wide = keys.to(gl.float16)\n",
        "    wide = keys.to(gl.float16)\n    wide = gl.where(wide == wide, wide, 480.0)\n",
        ("Score", "Best", "Exact"),
        defect="D49",
    ),
    _widen(
        "decode_e4m3_sm90_subnormals_as_zero",
        "Subnormal numbers of e4m3 are taken for 0.",
        "    wide = keys.to(gl.float16)\n",
        "    wide = keys.to(gl.float16)\n    wide = gl.where((wide < 0.015625) & (wide > -0.015625), 0.0, wide)\n",
        ("Score", "Best", "Exact"),
        defect="D49",
    ),
]
