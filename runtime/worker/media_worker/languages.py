"""Languages of tracks, as players expect them.

Containers state three-letter codes (ISO 639-2), HLS and DASH take tags of BCP 47, which wants the
two-letter code (ISO 639-1) wherever there is one (RFC 5646, 2.2.1).
"""

from __future__ import annotations

import re

_CODES = """
    aa=aar ab=abk ae=ave af=afr ak=aka am=amh an=arg ar=ara as=asm av=ava ay=aym az=aze ba=bak
    be=bel bg=bul bi=bis bm=bam bn=ben bo=bod/tib br=bre bs=bos ca=cat ce=che ch=cha co=cos cr=cre
    cs=ces/cze cu=chu cv=chv cy=cym/wel da=dan de=deu/ger dv=div dz=dzo ee=ewe el=ell/gre en=eng
    eo=epo es=spa et=est eu=baq/eus fa=fas/per ff=ful fi=fin fj=fij fo=fao fr=fra/fre fy=fry
    ga=gle gd=gla gl=glg gn=grn gu=guj gv=glv ha=hau he=heb hi=hin ho=hmo hr=hrv ht=hat hu=hun
    hy=arm/hye hz=her ia=ina id=ind ie=ile ig=ibo ii=iii ik=ipk io=ido is=ice/isl it=ita iu=iku
    ja=jpn jv=jav ka=geo/kat kg=kon ki=kik kj=kua kk=kaz kl=kal km=khm kn=kan ko=kor kr=kau ks=kas
    ku=kur kv=kom kw=cor ky=kir la=lat lb=ltz lg=lug li=lim ln=lin lo=lao lt=lit lu=lub lv=lav
    mg=mlg mh=mah mi=mao/mri mk=mac/mkd ml=mal mn=mon mr=mar ms=may/msa mt=mlt my=bur/mya na=nau
    nb=nob nd=nde ne=nep ng=ndo nl=dut/nld nn=nno no=nor nr=nbl nv=nav ny=nya oc=oci oj=oji om=orm
    or=ori os=oss pa=pan pi=pli pl=pol ps=pus pt=por qu=que rm=roh rn=run ro=ron/rum ru=rus rw=kin
    sa=san sc=srd sd=snd se=sme sg=sag si=sin sk=slk/slo sl=slv sm=smo sn=sna so=som sq=alb/sqi
    sr=srp ss=ssw st=sot su=sun sv=swe sw=swa ta=tam te=tel tg=tgk th=tha ti=tir tk=tuk tl=tgl
    tn=tsn to=ton tr=tur ts=tso tt=tat tw=twi ty=tah ug=uig uk=ukr ur=urd uz=uzb ve=ven vi=vie
    vo=vol wa=wln wo=wol xh=xho yi=yid yo=yor za=zha zh=chi/zho zu=zul
"""
"""Two-letter codes with the three-letter ones that mean the same."""

_SHORT = {
    long: short
    for short, _, longs in (entry.partition("=") for entry in _CODES.split())
    for long in longs.split("/")
}

_TAG = re.compile(r"([A-Za-z]{2,3})((?:-[A-Za-z0-9]{2,8})*)")
_NO_LANGUAGE = frozenset({"und", "mul", "mis", "zxx"})
_SCRIPT_LETTERS, _REGION_LETTERS = 4, 2


def language_tag(stated: str | None) -> str | None:
    """Return the BCP 47 tag of a language as a container states it.

    Args:
        stated: E.g. ``eng``, ``ger``, ``pt_br``; ``None`` if nothing is stated.

    Returns:
        E.g. ``en``, ``de``, ``pt-BR``; ``None`` if it names no single language.
    """
    found = _TAG.fullmatch((stated or "").strip().replace("_", "-"))
    if found is None:
        return None
    language = found[1].lower()
    if language in _NO_LANGUAGE:
        return None
    return "-".join([_SHORT.get(language, language), *map(_subtag, found[2].split("-")[1:])])


def _subtag(text: str) -> str:
    if len(text) == _SCRIPT_LETTERS and text.isalpha():
        return text.title()
    if len(text) == _REGION_LETTERS:
        return text.upper()
    return text.lower()
