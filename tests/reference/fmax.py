"""Fmax protein by protein and threshold by threshold, as its definition reads."""


def reference_fmax(scores, labels):
    best = (0.0, 0.0, 0.0, 0.0)
    first = True
    for k in range(100):
        t = k / 100
        precisions, recalls = [], []
        for p, has in zip(scores, labels, strict=True):
            predicted = {c for c, score in enumerate(p) if score > t}
            true = {c for c, label in enumerate(has) if label}
            if predicted:
                precisions.append(len(predicted & true) / len(predicted))
            recalls.append(len(predicted & true) / len(true) if true else 0.0)
        precision = sum(precisions) / len(precisions) if precisions else 0.0
        recall = sum(recalls) / len(recalls)
        f = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        if first or f > best[0] + 1e-15:
            best = (f, t, precision, recall)
        first = False
    return best
