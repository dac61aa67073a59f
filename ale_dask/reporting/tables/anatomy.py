"""Write labels of AAL2 and the Talairach Daemon in words, without their side, for the table of a paper."""

from __future__ import annotations

_AAL = {
    "Precentral": "Precentral gyrus",
    "Frontal Sup 2": "Superior frontal gyrus",
    "Frontal Mid 2": "Middle frontal gyrus",
    "Frontal Inf Oper": "Inferior frontal gyrus, opercular part",
    "Frontal Inf Tri": "Inferior frontal gyrus, triangular part",
    "Frontal Inf Orb 2": "Inferior frontal gyrus, orbital part",
    "Rolandic Oper": "Rolandic operculum",
    "Supp Motor Area": "Supplementary motor area",
    "Olfactory": "Olfactory cortex",
    "Frontal Sup Medial": "Superior frontal gyrus, medial",
    "Frontal Med Orb": "Medial frontal gyrus, orbital part",
    "Rectus": "Gyrus rectus",
    "OFCmed": "Medial orbital gyrus",
    "OFCant": "Anterior orbital gyrus",
    "OFCpost": "Posterior orbital gyrus",
    "OFClat": "Lateral orbital gyrus",
    "Cingulate Ant": "Anterior cingulate cortex",
    "Cingulate Mid": "Middle cingulate cortex",
    "Cingulate Post": "Posterior cingulate cortex",
    "ParaHippocampal": "Parahippocampal gyrus",
    "Calcarine": "Calcarine cortex",
    "Lingual": "Lingual gyrus",
    "Occipital Sup": "Superior occipital gyrus",
    "Occipital Mid": "Middle occipital gyrus",
    "Occipital Inf": "Inferior occipital gyrus",
    "Fusiform": "Fusiform gyrus",
    "Postcentral": "Postcentral gyrus",
    "Parietal Sup": "Superior parietal gyrus",
    "Parietal Inf": "Inferior parietal gyrus",
    "SupraMarginal": "Supramarginal gyrus",
    "Angular": "Angular gyrus",
    "Paracentral Lobule": "Paracentral lobule",
    "Heschl": "Heschl's gyrus",
    "Temporal Sup": "Superior temporal gyrus",
    "Temporal Pole Sup": "Temporal pole, superior",
    "Temporal Mid": "Middle temporal gyrus",
    "Temporal Pole Mid": "Temporal pole, middle",
    "Temporal Inf": "Inferior temporal gyrus",
}
_SIDES = (" L", " R")
_NEAR = "near "


def region_words(label: str) -> str:
    """Return an AAL label in words, without its side: "Rectus L" is "Gyrus rectus"."""
    near, name = (_NEAR, label.removeprefix(_NEAR)) if label.startswith(_NEAR) else ("", label)
    if name.endswith(_SIDES):
        name = name[:-2]
    if name.startswith(("Cerebelum ", "Vermis ")):
        where, lobule = name.split(" ", 1)
        part = "Cerebellar vermis" if where == "Vermis" else "Cerebellum"
        words = f"{part}, {_lobule(lobule)}"
    else:
        words = _AAL.get(name, name)
    return f"{near}{words[:1].lower() + words[1:]}" if near and not words.startswith("Heschl") else f"{near}{words}"


def _lobule(text: str) -> str:
    if text.startswith("Crus"):
        return f"crus {text[4:]}"
    return f"lobule{'s' if ' ' in text else ''} {text.replace(' ', '-')}"


def area_words(label: str) -> str:
    """Return a label of a Brodmann area or nucleus in words: "9", "near 9" or "Lateral globus pallidus"."""
    near, name = (_NEAR, label.removeprefix(_NEAR)) if label.startswith(_NEAR) else ("", label)
    name = name.removeprefix("Brodmann area ").replace("Substania", "Substantia")
    words = name[:1] + name[1:].lower()
    return f"{near}{words.lower() if near else words}"
