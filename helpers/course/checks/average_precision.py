"""Build tasks of average precision: the precision-recall curve, and the area under it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.ops import box_iou

from helpers.course.checks.definition import Case, Definition, Mistake

Table = dict[str, Tensor]
Curve = tuple[np.ndarray, np.ndarray]


def precision_recall_curve(
    detections: dict[str, Tensor], targets: dict[str, Tensor], label: int, iou_threshold: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Return recall and precision of one class over all images, after each detection, best score first.

    A detection of the class is a hit if its IoU with a target of the class in the same image is at least the
    threshold and no better detection has hit this target before. Every other detection of the class is a false alarm:
    also a second detection of a target, and a detection in an image without targets. Detections and targets of other
    classes take no part.

    After k detections, precision is the share of hits among these k, and recall is the share of all targets of the
    class that are hit. Without a target of the class, recall is 0. Every score counts: there is no score threshold.

    Two rules are in use for a detection whose best target is already hit: it is a false alarm (PASCAL VOC), or it may
    hit the next best target that is still free (COCO). Both are accepted.

    Example: one image has two targets. The detections with the scores 0.9, 0.8 and 0.7 are a hit, a false alarm and a
    hit. Recall is [1/2, 1/2, 2/2], and precision is [1/1, 1/2, 2/3].

    Args:
        detections: D detections of all images, in any order, as columns of a table: "boxes" [D, 4] in pixels
            (x1, y1, x2, y2), "scores" [D], "labels" [D], "images" [D], the number of the image of each detection.
        targets: N true objects of all images: "boxes" [N, 4], "labels" [N], "images" [N]. An image may have none.
        label: the class.
        iou_threshold: smallest IoU of a hit.

    Returns:
        Recall and precision as NumPy arrays: one value for each detection of the class. You may use `box_iou` of
        torchvision.
    """
    is_label = detections["labels"] == label
    boxes, scores, images = (detections[name][is_label] for name in ("boxes", "scores", "images"))
    is_target = targets["labels"] == label
    true_boxes, true_images = targets["boxes"][is_target], targets["images"][is_target]
    num_targets = len(true_boxes)
    is_free = torch.ones(num_targets, dtype=torch.bool)
    is_hit = []
    for row in scores.argsort(descending=True, stable=True).tolist():
        (candidates,) = torch.nonzero(is_free & (true_images == images[row]), as_tuple=True)
        iou = box_iou(boxes[row].unsqueeze(0), true_boxes[candidates])[0]
        if len(candidates) > 0 and iou.max() >= iou_threshold:
            is_free[candidates[iou.argmax()]] = False
            is_hit.append(1)
        else:
            is_hit.append(0)
    hits = np.cumsum(np.array(is_hit, dtype=np.int64))
    recall = hits / max(num_targets, 1)
    precision = hits / np.arange(1, len(hits) + 1)
    return recall, precision


def compute_ap(recall: Float[np.ndarray, " D"], precision: Float[np.ndarray, " D"], method: str = "all-point") -> float:
    """Return the average precision (AP) of a precision-recall curve: its mean precision over recall 0 to 1.

    The precision at a recall r is the highest precision of the curve at recall r or above (the envelope). At a recall
    that the curve does not reach, it is 0. The curve starts at recall 0.

    "all-point": the exact area under the envelope, a sum of rectangles.
    "11-point": the mean of the envelope at the recalls 0, 0.1, 0.2, ..., 1. A curve whose recall is 3 / 10 has reached
    0.3. Beware of rounding: in Python, 3 * 0.1 is 0.30000000000000004, which is more than 3 / 10.

    Example: recall [0.5, 0.5, 1] and precision [1, 0.5, 2/3]. The envelope is 1 up to recall 0.5 and 2/3 from there up
    to recall 1. All-point: 0.5 · 1 + 0.5 · 2/3 = 0.8333. 11-point: the recalls 0 to 0.5 have precision 1, and 0.6 to 1
    have 2/3, so (6 · 1 + 5 · 2/3) / 11 = 0.8485.

    Args:
        recall: rising, one value per detection, best score first; it may be empty.
        precision: of the same detections.
        method: "all-point" or "11-point".

    Raises:
        ValueError: `method` is another name.
    """
    if method == "11-point":
        values = []
        for tenth in range(11):
            is_reached = recall >= tenth / 10
            values.append(precision[is_reached].max() if is_reached.any() else 0.0)
        return float(np.mean(values))
    if method != "all-point":
        raise ValueError(f"method is {method!r}; choose 'all-point' or '11-point'")
    recall = np.concatenate([[0.0], recall, [1.0]])
    envelope = np.concatenate([[0.0], precision, [0.0]])
    for row in range(len(envelope) - 2, -1, -1):
        envelope[row] = max(envelope[row], envelope[row + 1])
    return float(np.sum((recall[1:] - recall[:-1]) * envelope[1:]))


# Cases

TARGET = [0.0, 0, 10, 10]
NEAR_TARGET = [0.0, 0, 10, 8]  # IoU 0.8
FAR = [60.0, 60, 80, 90]


def make_table(*rows: tuple[list[float], float, int, int]) -> Table:
    """Return the columns of `(box, score, image, label)` rows; of targets the score has no meaning."""
    return {
        "boxes": torch.tensor([row[0] for row in rows]).reshape(-1, 4),
        "scores": torch.tensor([row[1] for row in rows], dtype=torch.float32),
        "images": torch.tensor([row[2] for row in rows], dtype=torch.int64),
        "labels": torch.tensor([row[3] for row in rows], dtype=torch.int64),
    }


def _without_scores(table: Table) -> Table:
    return {name: column for name, column in table.items() if name != "scores"}


def make_sequence(hits: str, num_targets: int, scores: list[float] | None = None) -> tuple[Table, Table]:
    """Return detections and targets of one image: the detections are hits ("T") and false alarms ("F").

    The targets are apart, and the scores are in the order of `hits` where none are given.
    """
    detections = []
    num_hits = 0
    for rank, letter in enumerate(hits):
        score = scores[rank] if scores else 0.9 - 0.1 * rank
        offset = 20.0 * num_hits if letter == "T" else 1000.0 + 20 * rank
        num_hits += letter == "T"
        detections.append(([offset, 5.0, offset + 10, 13.0], score, 0, 0))
    targets = [([20.0 * row, 5.0, 20.0 * row + 10, 15.0], 0.0, 0, 0) for row in range(num_targets)]
    return make_table(*detections), _without_scores(make_table(*targets))


def list_sequences() -> list[tuple[str, Table, Table]]:
    """Return detections and targets with a title, whose AP can be computed on paper."""
    duplicate = make_table((TARGET, 0.9, 0, 0), (NEAR_TARGET, 0.8, 0, 0))
    two_targets = _without_scores(make_table((TARGET, 0, 0, 0), (FAR, 0, 0, 0)))
    other_image = make_table((TARGET, 0.9, 2, 0))
    in_two_images = _without_scores(make_table((TARGET, 0, 1, 0), (FAR, 0, 2, 0)))
    without_targets = make_table((FAR, 0.9, 1, 0), (TARGET, 0.8, 2, 0))
    second_image_only = _without_scores(make_table((TARGET, 0, 2, 0)))
    two_classes = _without_scores(make_table((NEAR_TARGET, 0, 0, 0), (TARGET, 0, 0, 1), (FAR, 0, 0, 0)))
    return [
        ("one hit, one target", *make_sequence("T", 1)),
        ("two hits, two targets", *make_sequence("TT", 2)),
        ("a hit and a duplicate, two targets", duplicate, two_targets),
        ("hit, false alarm, hit; two targets", *make_sequence("TFT", 2)),
        ("false alarm, hit, hit; two targets", *make_sequence("FTT", 2)),
        ("three hits, ten targets", *make_sequence("TTT", 10, [0.9, 0.6, 0.4])),
        ("a box at the place of a target of another image", other_image, in_two_images),
        ("the best score is in an image without targets", without_targets, second_image_only),
        (
            "a target of another class at the same place",
            make_table((TARGET, 0.9, 0, 0), (FAR, 0.8, 0, 0)),
            two_classes,
        ),
        ("scores that are not sorted", *make_sequence("FT", 1, [0.1, 0.9])),
    ]


def _draw_scene(generator: torch.Generator) -> tuple[Table, Table]:
    """Return random targets of two classes in four images, and detections: around them, twice, and at random places.

    Targets are far from one another, so that both rules for a target that is already hit agree.
    """
    targets, detections = [], []
    for image in range(4):
        for place in range(3 if image else 0):
            corner = 60 * place + 10 * torch.rand(2, generator=generator)
            box = torch.cat([corner, corner + 15 + 15 * torch.rand(2, generator=generator)])
            label = int(torch.randint(0, 2, (), generator=generator))
            targets.append((box.tolist(), 0.0, image, label))
            for _ in range(2):
                noisy = (box + 2.5 * torch.randn(4, generator=generator)).tolist()
                detections.append((noisy, float(torch.rand((), generator=generator)), image, label))
        corner = 400 + 30 * torch.rand(2, generator=generator)
        stray = torch.cat([corner, corner + 20]).tolist()
        detections.append((stray, float(torch.rand((), generator=generator)), image, 0))
    return make_table(*detections), _without_scores(make_table(*targets))


def draw_curve_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `precision_recall_curve`."""
    sequences = {title: (detections, targets) for title, detections, targets in list_sequences()}
    scene, scene_targets = _draw_scene(generator)
    order = torch.randperm(len(scene["scores"]), generator=generator)
    shuffled = {name: column[order] for name, column in scene.items()}
    nothing = make_table()
    one_hit, one_target = make_sequence("T", 1)
    by_hand = list(sequences)[:6]
    # Quotients of these are exact in float32, too: the tolerance shows a small number that was added to a divisor.
    exact = 2e-7
    return [
        *(
            Case("by hand", title, (*sequences[title], 0), tolerance=exact if title.count("one") == 2 else 1e-4)
            for title in by_hand
        ),
        Case("borders and empty input", "no detection", (nothing, one_target, 0)),
        Case("borders and empty input", "no target", (one_hit, _without_scores(nothing), 0)),
        Case("borders and empty input", "detections of another class alone", (one_hit, one_target, 1)),
        Case("borders and empty input", list(sequences)[7], (*sequences[list(sequences)[7]], 0)),
        Case("shapes and batches", list(sequences)[6], (*sequences[list(sequences)[6]], 0)),
        Case("shapes and batches", list(sequences)[8], (*sequences[list(sequences)[8]], 0)),
        Case("shapes and batches", "IoU 0.8 at the threshold 0.9", (*sequences[by_hand[0]], 0, 0.9)),
        Case("laws", list(sequences)[9], (*sequences[list(sequences)[9]], 0)),
        Case("laws", "random detections, shuffled", (shuffled, scene_targets, 0)),
        Case("data", "random detections, class 0", (scene, scene_targets, 0)),
        Case("data", "random detections, class 1, IoU 0.75", (scene, scene_targets, 1, 0.75)),
    ]


def draw_ap_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `compute_ap`."""
    curves = {
        "one hit, one target": ([1.0], [1.0]),
        "two hits, two targets": ([0.5, 1], [1.0, 1]),
        "hit and false alarm, two targets": ([0.5, 0.5], [1, 0.5]),
        "hit, false alarm, hit; two targets": ([0.5, 0.5, 1], [1, 0.5, 2 / 3]),
        "false alarm, hit, hit; two targets": ([0, 0.5, 1], [0, 0.5, 2 / 3]),
        "three hits, ten targets": ([1 / 10, 2 / 10, 3 / 10], [1.0, 1, 1]),
    }
    is_hit = torch.rand(25, generator=generator) < torch.linspace(0.9, 0.2, 25)
    hits = np.cumsum(is_hit.numpy())
    random_curve = hits / 23, hits / np.arange(1, 26)
    drawn = (
        ("all-point", *random_curve, "all-point"),
        ("11-point", *random_curve, "11-point"),
    )
    driver = "average_precision.call_with_arrays"
    cases = []
    for method in ("all-point", "11-point"):
        for title, (recall, precision) in curves.items():
            inputs = (np.array(recall, dtype=np.float64), np.array(precision, dtype=np.float64), method)
            cases.append(Case("by hand", f"{title}; {method}", inputs, driver=driver))
    empty = np.zeros(0)
    cases += [
        Case("borders and empty input", "no detection; all-point", (empty, empty, "all-point"), driver=driver),
        Case("borders and empty input", "no detection; 11-point", (empty, empty, "11-point"), driver=driver),
        Case("borders and empty input", "false alarms alone", (np.zeros(2), np.zeros(2), "all-point"), driver=driver),
        Case("borders and empty input", "a method that does not exist", (empty, empty, "5-point"), driver=driver),
        Case("borders and empty input", "without a method", random_curve, driver=driver),
    ]
    pair = "average_precision.compute_ap_of_detections"
    for title, detections, targets in list_sequences():
        for method in ("all-point", "11-point"):
            cases.append(
                Case(
                    "pairs",
                    f"curve and AP: {title}; {method}",
                    (detections, targets, method),
                    driver=pair,
                    partners=("precision_recall_curve",),
                )
            )
    cases += [Case("data", f"a random curve; {name}", tuple(inputs), driver=driver) for name, *inputs in drawn]
    return cases


# Wrong curves. Each is written as a student writes it.


def _match(
    detections: Table,
    targets: Table,
    label: int,
    iou_threshold: float,
    may_hit_twice: bool = False,
    ignore_images: bool = False,
    all_classes: bool = False,
    sort: Callable[[Tensor], list[int]] = lambda scores: scores.argsort(descending=True, stable=True).tolist(),
) -> tuple[list[int], int]:
    """Return which detections of the class are hits, and the number of its targets."""
    is_label = detections["labels"] == label
    boxes, scores, images = (detections[name][is_label] for name in ("boxes", "scores", "images"))
    is_class = targets["labels"] == label
    is_target = torch.ones_like(is_class) if all_classes else is_class
    true_boxes, true_images = targets["boxes"][is_target], targets["images"][is_target]
    true_labels = targets["labels"][is_target]
    used, is_hit = set(), []
    for row in sort(scores):
        best, best_iou = -1, 0.0
        for target in range(len(true_boxes)):
            if target in used or (true_images[target] != images[row] and not ignore_images):
                continue
            iou = float(box_iou(boxes[row : row + 1], true_boxes[target : target + 1]))
            if iou > best_iou:
                best, best_iou = target, iou
        hit = best_iou >= iou_threshold and bool(true_labels[best] == label)
        if hit and not may_hit_twice:
            used.add(best)
        is_hit.append(int(hit))
    return is_hit, int(is_class.sum())


def _make_curve(is_hit: list[int], num_targets: float) -> Curve:
    hits = np.cumsum(np.array(is_hit, dtype=np.int64))
    return hits / max(num_targets, 1), hits / np.arange(1, len(hits) + 1)


def _epsilon_in_recall(detections: Table, targets: Table, label: int, iou_threshold: float = 0.5) -> Curve:
    is_hit, num_targets = _match(detections, targets, label, iou_threshold)
    hits = np.cumsum(np.array(is_hit, dtype=np.int64))
    return hits / (num_targets + 1e-6), hits / np.arange(1, len(hits) + 1)


def _hit_twice(detections: Table, targets: Table, label: int, iou_threshold: float = 0.5) -> Curve:
    return _make_curve(*_match(detections, targets, label, iou_threshold, may_hit_twice=True))


def _unsorted(detections: Table, targets: Table, label: int, iou_threshold: float = 0.5) -> Curve:
    return _make_curve(*_match(detections, targets, label, iou_threshold, sort=lambda scores: list(range(len(scores)))))


def _worst_first(detections: Table, targets: Table, label: int, iou_threshold: float = 0.5) -> Curve:
    return _make_curve(
        *_match(detections, targets, label, iou_threshold, sort=lambda scores: scores.argsort().tolist())
    )


def _without_images(detections: Table, targets: Table, label: int, iou_threshold: float = 0.5) -> Curve:
    return _make_curve(*_match(detections, targets, label, iou_threshold, ignore_images=True))


def _select(table: Table, mask: Tensor) -> Table:
    return {name: column[mask] for name, column in table.items()}


def _images_without_targets_skipped(detections: Table, targets: Table, label: int, iou_threshold: float = 0.5) -> Curve:
    images = targets["images"][targets["labels"] == label]
    return precision_recall_curve(
        _select(detections, torch.isin(detections["images"], images)), targets, label, iou_threshold
    )


def _recall_over_hits(detections: Table, targets: Table, label: int, iou_threshold: float = 0.5) -> Curve:
    is_hit, _ = _match(detections, targets, label, iou_threshold)
    return _make_curve(is_hit, sum(is_hit))


def _recall_over_detections(detections: Table, targets: Table, label: int, iou_threshold: float = 0.5) -> Curve:
    is_hit, _ = _match(detections, targets, label, iou_threshold)
    return _make_curve(is_hit, len(is_hit))


def _recall_over_all_classes(detections: Table, targets: Table, label: int, iou_threshold: float = 0.5) -> Curve:
    is_hit, _ = _match(detections, targets, label, iou_threshold)
    return _make_curve(is_hit, len(targets["labels"]))


def _class_compared_afterwards(detections: Table, targets: Table, label: int, iou_threshold: float = 0.5) -> Curve:
    return _make_curve(*_match(detections, targets, label, iou_threshold, all_classes=True))


def _labels_ignored(detections: Table, targets: Table, label: int, iou_threshold: float = 0.5) -> Curve:
    same = [{**table, "labels": torch.zeros_like(table["labels"])} for table in (detections, targets)]
    return precision_recall_curve(same[0], same[1], 0, iou_threshold)


def _score_cut(detections: Table, targets: Table, label: int, iou_threshold: float = 0.5) -> Curve:
    return precision_recall_curve(_select(detections, detections["scores"] >= 0.5), targets, label, iou_threshold)


def _unlisted_image(detections: Table, targets: Table, label: int, iou_threshold: float = 0.5) -> Curve:
    is_target = targets["labels"] == label
    targets_of = {int(image): True for image in targets["images"][is_target]}
    for image in detections["images"][detections["labels"] == label].tolist():
        targets_of[image]
    return precision_recall_curve(detections, targets, label, iou_threshold)


def _threshold_fixed(detections: Table, targets: Table, label: int, iou_threshold: float = 0.5) -> Curve:
    return precision_recall_curve(detections, targets, label, 0.5)


def _exchanged(detections: Table, targets: Table, label: int, iou_threshold: float = 0.5) -> Curve:
    recall, precision = precision_recall_curve(detections, targets, label, iou_threshold)
    return precision, recall


def _precision_over_all_detections(detections: Table, targets: Table, label: int, iou_threshold: float = 0.5) -> Curve:
    is_hit, num_targets = _match(detections, targets, label, iou_threshold)
    hits = np.cumsum(np.array(is_hit, dtype=np.int64))
    return hits / max(num_targets, 1), hits / max(len(is_hit), 1)


def _divided_by_no_target(detections: Table, targets: Table, label: int, iou_threshold: float = 0.5) -> Curve:
    is_hit, num_targets = _match(detections, targets, label, iou_threshold)
    if num_targets == 0:
        raise ZeroDivisionError("division by zero")
    return _make_curve(is_hit, num_targets)


CURVE = Definition(
    name="precision_recall_curve",
    number="3.4",
    title="Recall and precision of a class",
    purpose="The curve shows what each further detection finds, and what it costs.",
    points=3,
    difficulty=4,
    minutes=(25, 40),
    reference=precision_recall_curve,
    imports=("import numpy as np\nimport torch\nfrom torch import Tensor\nfrom torchvision.ops import box_iou"),
    draw_cases=draw_curve_cases,
    workload=Case("data", "1000 detections in 50 images", (50, 20), driver="average_precision.time_curve"),
    calls=100,
    hints=(
        "Write the list of hits (1) and false alarms (0) on paper first, best score first. Recall and precision follow "
        "from this list and from the number of targets.",
        "For each detection look only at targets of its class in its image. Remember which targets are already hit.",
        "With `hits = np.cumsum(is_hit)`, recall is `hits / num_targets`, and precision is "
        "`hits / np.arange(1, len(hits) + 1)`.",
    ),
    mistakes=(
        Mistake(
            "AP2a",
            "a small number is added to the number of targets",
            "Recall then never reaches 1, and the 11-point mean loses its last point. Divide by `max(num_targets, 1)`.",
            _epsilon_in_recall,
        ),
        Mistake(
            "AP3",
            "a target can be hit twice",
            "Mark a target as used: its second detection is a false alarm.",
            _hit_twice,
        ),
        Mistake("AP4a", "the detections are not sorted by their score", "Begin with the best score.", _unsorted),
        Mistake("AP4b", "the worst score comes first", "Sort by falling score.", _worst_first),
        Mistake(
            "AP5",
            "the numbers of the images are ignored",
            "A box at the same place of another image is no hit. Compare only with targets of the same image.",
            _without_images,
        ),
        Mistake(
            "AP6",
            "detections in images without targets are left out",
            "A detection in an image without targets is a false alarm. It lowers the precision.",
            _images_without_targets_skipped,
        ),
        Mistake(
            "AP8a",
            "recall is the share of all hits, not of all targets",
            "Recall ends below 1 where targets are missed: divide by the number of targets.",
            _recall_over_hits,
        ),
        Mistake(
            "AP8b",
            "recall is divided by the number of detections",
            "Divide the hits by the number of targets of the class.",
            _recall_over_detections,
        ),
        Mistake(
            "AP8c",
            "recall is divided by the number of targets of all classes",
            "Count the targets of this class only.",
            _recall_over_all_classes,
        ),
        Mistake(
            "AP11a",
            "the best target over all classes is chosen first, and its class is compared afterwards",
            "An object of another class at the same place then hides the right target. Compare only with targets of "
            "the class.",
            _class_compared_afterwards,
        ),
        Mistake(
            "AP11b",
            "the labels are ignored",
            "Use only detections and targets whose label is `label`.",
            _labels_ignored,
        ),
        Mistake(
            "AP12",
            "detections with a score below 0.5 are left out",
            "The curve shows every score threshold at once, so it needs every detection.",
            _score_cut,
        ),
        Mistake(
            "AP17",
            "a detection in an image without targets raises KeyError",
            "Not every image has targets: use `.get(image, [])`.",
            _unlisted_image,
        ),
        Mistake(
            "AP19",
            "the IoU threshold is always 0.5",
            "Use the argument `iou_threshold`.",
            _threshold_fixed,
        ),
        Mistake("AP20", "precision and recall are exchanged", "Return recall first, then precision.", _exchanged),
        Mistake(
            "AP21",
            "precision is divided by the number of all detections",
            "After k detections, precision is the share of hits among these k.",
            _precision_over_all_detections,
        ),
        Mistake(
            "AP22",
            "without targets it divides by 0",
            "A class may have no target: divide by `max(num_targets, 1)`.",
            _divided_by_no_target,
        ),
    ),
)


# Wrong areas. Each is written as a student writes it.


def _trapezoids_without_start(recall: np.ndarray, precision: np.ndarray, method: str = "all-point") -> float:
    return float(np.trapezoid(precision, recall)) if method == "all-point" else compute_ap(recall, precision, method)


def _trapezoids(recall: np.ndarray, precision: np.ndarray, method: str = "all-point") -> float:
    if method != "all-point":
        return compute_ap(recall, precision, method)
    first = precision[:1] if len(precision) else [0.0]
    return float(np.trapezoid(np.concatenate([first, precision]), np.concatenate([[0.0], recall])))


def _without_envelope(recall: np.ndarray, precision: np.ndarray, method: str = "all-point") -> float:
    if method != "all-point":
        return compute_ap(recall, precision, method)
    return float(np.sum(np.diff(np.concatenate([[0.0], recall])) * precision))


def _envelope_from_left(recall: np.ndarray, precision: np.ndarray, method: str = "all-point") -> float:
    if method != "all-point":
        return compute_ap(recall, precision, method)
    return float(np.sum(np.diff(np.concatenate([[0.0], recall])) * np.maximum.accumulate(precision)))


def _mean_of_last_values(recall: np.ndarray, precision: np.ndarray, method: str = "all-point") -> float:
    return float((precision[-1] + recall[-1]) / 2) if len(recall) else 0.0


def _mean_precision(recall: np.ndarray, precision: np.ndarray, method: str = "all-point") -> float:
    return float(np.mean(precision)) if len(recall) else 0.0


def _inexact_tenths(recall: np.ndarray, precision: np.ndarray, method: str = "all-point") -> float:
    if method != "11-point":
        return compute_ap(recall, precision, method)
    values = [precision[recall >= point].max(initial=0.0) for point in np.linspace(0, 1, 11)]
    return float(np.mean(values))


def _first_point_at_recall(recall: np.ndarray, precision: np.ndarray, method: str = "all-point") -> float:
    if method != "11-point":
        return compute_ap(recall, precision, method)
    reached = [precision[recall >= tenth / 10] for tenth in range(11)]
    return float(np.mean([values[0] if len(values) else 0.0 for values in reached]))


def _last_precision_carried_on(recall: np.ndarray, precision: np.ndarray, method: str = "all-point") -> float:
    if not len(recall):
        return compute_ap(recall, precision, method)
    return compute_ap(np.append(recall, 1.0), np.append(precision, precision[-1]), method)


def _old_function_of_numpy(recall: np.ndarray, precision: np.ndarray, method: str = "all-point") -> float:
    if method != "all-point":
        return compute_ap(recall, precision, method)
    raise AttributeError("module 'numpy' has no attribute 'trapz'")


def _always_all_point(recall: np.ndarray, precision: np.ndarray, method: str = "all-point") -> float:
    return compute_ap(recall, precision, "all-point")


def _always_eleven_points(recall: np.ndarray, precision: np.ndarray, method: str = "all-point") -> float:
    return compute_ap(recall, precision, "11-point")


def _ten_points(recall: np.ndarray, precision: np.ndarray, method: str = "all-point") -> float:
    if method != "11-point":
        return compute_ap(recall, precision, method)
    return float(np.mean([precision[recall >= tenth / 10].max(initial=0.0) for tenth in range(1, 11)]))


def _crash_without_detections(recall: np.ndarray, precision: np.ndarray, method: str = "all-point") -> float:
    np.max(precision)
    return compute_ap(recall, precision, method)


def _other_method_accepted(recall: np.ndarray, precision: np.ndarray, method: str = "all-point") -> float:
    return compute_ap(recall, precision, "11-point" if method == "11-point" else "all-point")


AP = Definition(
    name="compute_ap",
    number="3.5",
    title="Average precision of a curve",
    purpose="AP is the area under this curve in one number.",
    points=3,
    difficulty=3,
    minutes=(20, 30),
    reference=compute_ap,
    imports="import numpy as np\nfrom jaxtyping import Float",
    draw_cases=draw_ap_cases,
    partners={"precision_recall_curve": precision_recall_curve},
    hints=(
        "Draw the curve of the example on paper. Which precision holds from recall 0 to 0.5?",
        "Walk through the precisions from the last to the first and keep the highest so far: this is the envelope.",
        "All-point: put recall 0 before the curve, and sum (width of a recall step) · (envelope at its end).",
        "11-point: for each k from 0 to 10, the largest of `precision[recall >= k / 10]`, or 0 if there is none.",
    ),
    mistakes=(
        Mistake(
            "AP1",
            "the area is a sum of trapezoids from the first detection on",
            "The curve starts at recall 0, and its envelope consists of steps. One hit of one target must give AP 1.",
            _trapezoids_without_start,
        ),
        Mistake(
            "AP2b",
            "the curve of task 3.4 has a small number in the divisor of recall, so recall 1 is never reached",
            "Correct `precision_recall_curve`: divide by `max(num_targets, 1)` and add nothing.",
            compute_ap,
            {"precision_recall_curve": _epsilon_in_recall},
        ),
        Mistake(
            "AP7a",
            "the envelope is missing",
            "The precision at recall r is the best precision at recall r or above.",
            _without_envelope,
        ),
        Mistake(
            "AP7b",
            "the envelope is taken from the left",
            "The precision at recall r is the best one at recall r or above: begin at the last detection.",
            _envelope_from_left,
        ),
        Mistake(
            "AP7c",
            "the area is a sum of trapezoids without an envelope",
            "Sum rectangles under the envelope.",
            _trapezoids,
        ),
        Mistake(
            "AP9a",
            "the result is the mean of the last precision and the last recall",
            "AP is an area under the whole curve: every detection takes part.",
            _mean_of_last_values,
        ),
        Mistake(
            "AP9b",
            "the result is the mean of all precisions",
            "The mean is taken over recall 0 to 1, not over detections.",
            _mean_precision,
        ),
        Mistake(
            "AP13",
            "recall is compared with inexact tenths: 0.30000000000000004 for 0.3",
            "A recall of 3 / 10 has reached 0.3. Compare with k / 10 for whole k.",
            _inexact_tenths,
        ),
        Mistake(
            "AP14",
            "the precision at the first detection that reaches a recall is used",
            "Use the best precision at this recall or above.",
            _first_point_at_recall,
        ),
        Mistake(
            "AP15",
            "the last precision is carried on to recall 1",
            "A recall that the curve does not reach has precision 0.",
            _last_precision_carried_on,
        ),
        Mistake(
            "AP18",
            "it calls np.trapz, which NumPy no longer has",
            "The function is called np.trapezoid now. The area here is a sum of rectangles, though.",
            _old_function_of_numpy,
        ),
        Mistake("AP23a", "the method is always all-point", "Use the argument `method`.", _always_all_point),
        Mistake("AP23b", "the method is always 11-point", "Use the argument `method`.", _always_eleven_points),
        Mistake(
            "AP24",
            "the 11-point mean leaves out recall 0",
            "The recalls are 0, 0.1, ..., 1: eleven numbers.",
            _ten_points,
        ),
        Mistake(
            "AP25",
            "without detections it raises an exception",
            "A class may have no detection: its AP is 0.",
            _crash_without_detections,
        ),
        Mistake(
            "AP26",
            "an unknown method is accepted",
            "Raise ValueError if `method` is neither of the two names.",
            _other_method_accepted,
        ),
    ),
)

DEFINITIONS = (CURVE, AP)
