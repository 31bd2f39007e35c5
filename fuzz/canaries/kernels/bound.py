"""Mutants of bound calls: what a layer must not keep of the layer before it."""

from fuzz.canaries.kernels.mutant import mutants_of

_repeat = mutants_of("ops/launch_repeat.py", "prefill-bound")
_bound = mutants_of("ops/bound.py", "prefill-bound")
_binding = mutants_of("ops/binding.py", "prefill-bound")
_driver = mutants_of("ops/driver_launch.py", "prefill-bound", "gpu")

MUTANTS = [
    _repeat(
        "bound_queries_of_the_first_layer",
        "The queries of the first layer serve all others.",
        "if span.start <= address < span.stop:",
        "if which != 0 and span.start <= address < span.stop:",
        ("Best",),
        defect="D19",
    ),
    _repeat(
        "bound_keys_of_the_first_layer",
        "The key pages of the first layer serve all others.",
        "if span.start <= address < span.stop:",
        "if which != 1 and span.start <= address < span.stop:",
        ("Best",),
        defect="D19",
    ),
    _repeat(
        "bound_out_of_the_first_layer",
        "All layers write where the first one wrote.",
        "if span.start <= address < span.stop:",
        "if which != 2 and span.start <= address < span.stop:",
        ("WritesAll",),
        defect="D21",
    ),
    _repeat(
        "bound_end_is_inside",
        "A tensor that begins where another one ends is taken for the end of that one.",
        "if span.start <= address < span.stop:",
        "if span.start <= address <= span.stop:",
        ("Best", "Runs", "WritesAll", "WritesOnly"),
        defect="D21",
    ),
    _bound(
        "bound_to_one_layout_of_queries",
        "Queries of other strides are launched as those that were bound first.",
        "q.stride(), q.dtype",
        "q.dtype",
        ("Best", "Runs"),
    ),
    _bound(
        "bound_to_one_layout_of_keys",
        "Key pages of other strides are launched as those that were bound first.",
        "keys.stride(), keys.dtype",
        "keys.dtype",
        ("Best", "Runs"),
    ),
    _bound(
        "bound_to_one_layout_of_out",
        "Selections of other strides are written as those that were bound first.",
        "out.stride(), out.dtype",
        "out.dtype",
        ("WritesAll", "Runs"),
    ),
    _driver(
        "bound_pointers_never_change",
        "The pointers of the first repeat serve all others.",
        "values[place] = addresses[which] + offset",
        "values[place] = values[place] or addresses[which] + offset",
        ("WritesAll", "Best"),
        target="decode-bound",
        defect="D19",
    ),
    _driver(
        "bound_maps_of_other_pages",
        "One tensor map serves all pages of one shape.",
        "found = made.get(address)",
        "found = made.get(address, next(iter(made.values()), None))",
        ("Best", "Runs"),
        defect="D19",
    ),
    _binding(
        "bound_returns_the_first_out",
        "Every repeat returns the view of the first one's output.",
        "if view is None or address != addresses[2]:",
        "if view is None:",
        ("OwnMemory", "Best", "WritesAll", "Runs"),
    ),
    _bound(
        "bound_whatever_overlaps",
        "Tensors that share memory are launched again as if an address told whose it is.",
        "if is_apart(changing, [Span.of(tensor) for tensor in (*self._metadata, *call.kept)]):",
        "if changing:",
        ("Runs", "Best", "WritesAll", "WritesOnly"),
        defect="D21",
    ),
    _bound(
        "bound_whatever_the_alignment",
        "Tensors between steps of 16 bytes are launched as aligned ones.",
        "q.device, q_address & 15",
        "q.device",
        ("Best", "Runs"),
        needs=("gpu",),
    ),
    _bound(
        "bound_words_wherever_keys_begin",
        "Keys of bytes are read in words, because those of an earlier layer began at a multiple of eight.",
        "k_address & 15, word,",
        "",
        ("Best", "Runs", "Exact"),
        defect="D29",
    ),
]
